"""Verifies a received webhook: the secret is the argument, standard input is {"headers": …, "body": "…"}."""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

received = json.load(sys.stdin)
webhook = Webhook(sys.argv[1])
webhook.verify(received["body"], received["headers"])
try:
    webhook.verify(received["body"] + " ", received["headers"])
except WebhookVerificationError:
    sys.exit(0)
sys.exit("a changed body was verified")
