"""Reads a request as a CloudEvent with the official package, and prints it: standard input is {"headers": …, "body": "…"}."""

import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_http_event

received = json.load(sys.stdin)
event = from_http_event(HTTPMessage(received["headers"], received["body"].encode()))
attributes = {name: str(value) for name, value in event.get_attributes().items()}
print(json.dumps({"attributes": attributes, "data": event.get_data()}))
