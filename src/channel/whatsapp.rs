//! WhatsApp by Meta's Cloud API: a text within 24 hours of the customer's last message, or an approved template at any time.
//!
//! Error codes decide before the status, and only words of ours are said about them. The id of a message (`wamid`) holds the
//! number that it went to in base 64: of a recipient's only a digest is kept. Files are named or linked in the text: an
//! upload is a second API and a second message, which no template can announce. Sources:
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages>,
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes>.

mod errors;
mod message;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::http::{Answer, HttpClient, classify_provider_status, parse_endpoint, rebase};
use super::id::Id;
use super::secret::Redacted;
use super::{Adapter, Channel, Failure, Limit, Receipt, SendError, Try, Workshop, settings};
use crate::delivery::Delivery;
use crate::ids::digest;
use crate::outcome::Reason;
use crate::recipient::is_phone_number;
use crate::rule::fault::Fault;
use message::Part;

const API_BASE: &str = "https://graph.facebook.com";
/// Meta keeps a version for two years or so.
const API_VERSION: &str = "v23.0";

/// Of a number, unless Meta has raised it to 1,000.
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/overview#throughput>
const PER_NUMBER: (u32, Duration) = (80, Duration::from_secs(1));
/// From one number to another: one in six seconds, and 45 at once that are waited for afterwards.
const PER_PAIR: (u32, Duration) = (600, Duration::from_secs(3_600));
const PAIR_BURST: u32 = 45;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WhatsAppConfig {
    /// The id of the sender's number, not the number.
    phone_number_id: Id,
    /// Of a system user, with `whatsapp_business_messaging`.
    access_token: Redacted<String>,
    /// A number like `+491701234567`. None: each recipient's own.
    to: Option<Redacted<String>>,
    /// None: a text, which Meta delivers only within 24 hours of the customer's last message.
    template: Option<TemplateConfig>,
    /// Whether a text shows a preview of its first link.
    #[serde(default)]
    preview_url: bool,
    /// Takes the place of `https://graph.facebook.com`.
    #[schemars(extend("x-address" = true))]
    api_base: Option<String>,
    /// Like `v23.0`.
    api_version: Option<String>,
}

/// A template that Meta has approved.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TemplateConfig {
    name: String,
    /// Like `en_US`.
    language: String,
    /// What stands for `{{1}}`, `{{2}}` … of its body.
    #[serde(default)]
    parameters: Vec<Part>,
}

#[derive(Debug)]
pub struct WhatsApp {
    http: HttpClient,
    url: Url,
    authorization: HeaderValue,
    number_id: String,
    /// None: the recipient's.
    to: Option<Redacted<String>>,
    template: Option<TemplateConfig>,
    preview_url: bool,
}

impl Adapter for WhatsApp {
    type Config = WhatsAppConfig;

    fn show(delivery: &Delivery) -> Value {
        message::text(delivery).into()
    }

    fn new(config: &Value, workshop: &Workshop) -> Result<Self, Fault> {
        let config: WhatsAppConfig = settings::read(config)?;
        let api = Account::read(
            &config.phone_number_id,
            &config.access_token,
            config.api_base.as_deref(),
            config.api_version.as_deref(),
            workshop,
        )?;
        if config.to.as_ref().is_some_and(|to| !is_phone_number(to.expose())) {
            return Err(Fault::new("/to", "is no phone number like +491701234567"));
        }
        if let Some(TemplateConfig { name, language, .. }) = &config.template {
            let legal = |text: &str| {
                !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            if !legal(name) {
                return Err(Fault::new("/template/name", "is no template's name: a-z, 0-9 and _"));
            }
            if !legal(language) {
                return Err(Fault::new("/template/language", "is no language, like en_US"));
            }
        }
        Ok(Self {
            http: workshop.http.clone(),
            url: api.url("messages"),
            authorization: api.authorization,
            number_id: config.phone_number_id.to_string(),
            to: config.to,
            template: config.template,
            preview_url: config.preview_url,
        })
    }

    fn probe<'a>(
        config: &'a Value,
        workshop: &'a Workshop,
        at: Timestamp,
    ) -> Option<BoxFuture<'a, Result<(), SendError>>> {
        let whole = settings::has(config, "phoneNumberId") && settings::has(config, "accessToken");
        whole.then(|| Box::pin(Self::probe(config, workshop, at)) as BoxFuture<'_, _>)
    }
}

/// What every call needs.
struct Account {
    /// Of the sender's number.
    base: Url,
    authorization: HeaderValue,
}

impl Account {
    fn read(
        number_id: &Id,
        token: &Redacted<String>,
        api_base: Option<&str>,
        api_version: Option<&str>,
        workshop: &Workshop,
    ) -> Result<Self, Fault> {
        let Id::Number(1..) = number_id else {
            return Err(Fault::new("/phoneNumberId", "is no id of a phone number: digits, as Meta's console shows them"));
        };
        let token = token.expose();
        let authorization = HeaderValue::from_str(&format!("Bearer {token}")).ok();
        let authorization = authorization.filter(|_| !token.is_empty() && !token.contains(char::is_whitespace));
        let Some(mut authorization) = authorization else {
            return Err(Fault::new("/accessToken", "is empty, or has characters that no token has"));
        };
        authorization.set_sensitive(true);
        let version = api_version.filter(|version| !version.is_empty()).unwrap_or(API_VERSION);
        let numbers = version.strip_prefix('v').and_then(|numbers| numbers.split_once('.'));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !numbers.is_some_and(|(major, minor)| digits(major) && digits(minor)) {
            return Err(Fault::new("/apiVersion", "is no version like v23.0"));
        }
        let base = api_base.filter(|base| !base.is_empty()).unwrap_or(API_BASE);
        let base = parse_endpoint(base, workshop.http.policy(), "/apiBase")?;
        let mut url = base.clone();
        url.set_path(&format!("/{version}/{number_id}"));
        Ok(Self { base: rebase(&url, &base), authorization })
    }

    fn url(&self, edge: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{edge}", self.base.path()));
        url
    }
}

impl Channel for WhatsApp {
    fn send<'a>(&'a self, attempt: Try<'a>) -> BoxFuture<'a, Result<Receipt, SendError>> {
        Box::pin(async move {
            let to = self.to(&attempt)?;
            let request = self.request(attempt.delivery, to);
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(AUTHORIZATION, self.authorization.clone());
            let body = Bytes::from(request.to_string());
            let answer = self.http.post(&self.url, headers, body, attempt.at).await?;
            let mut receipt = classify(&answer, self.to.is_some())?;
            if self.to.is_none() {
                receipt.provider_id = receipt.provider_id.map(|wamid| digest(&[&wamid]));
            }
            Ok(receipt)
        })
    }

    fn limits(&self, attempt: &Try<'_>) -> Vec<Limit> {
        let Ok(to) = self.to(attempt) else { return Vec::new() };
        let number = digest(&[&self.number_id]);
        let pair = digest(&[&self.number_id, to]);
        let limit = |of: String, (most, per): (u32, Duration), burst| Limit { of, most, per, burst, cost: 1 };
        vec![
            limit(format!("whatsapp-number.{number}"), PER_NUMBER, PER_NUMBER.0),
            limit(format!("whatsapp-pair.{pair}"), PER_PAIR, PAIR_BURST),
        ]
    }
}

impl WhatsApp {
    fn to<'a>(&'a self, attempt: &Try<'a>) -> Result<&'a str, SendError> {
        let to = self.to.as_ref().or(attempt.to).map(|to| to.expose().as_str());
        to.ok_or_else(|| {
            SendError::Ours(Failure::new(Reason::Misconfigured, "there is no number to send it to"))
        })
    }

    fn request(&self, delivery: &Delivery, to: &str) -> Value {
        let mut request =
            json!({ "messaging_product": "whatsapp", "recipient_type": "individual", "to": to });
        let Some(template) = &self.template else {
            request["type"] = "text".into();
            request["text"] = json!({ "preview_url": self.preview_url, "body": message::text(delivery) });
            return request;
        };
        let texts = message::parameters(&template.parameters, delivery);
        let parameters: Vec<Value> =
            texts.into_iter().map(|text| json!({ "type": "text", "text": text })).collect();
        request["type"] = "template".into();
        request["template"] = json!({ "name": template.name, "language": { "code": template.language } });
        if !parameters.is_empty() {
            request["template"]["components"] = json!([{ "type": "body", "parameters": parameters }]);
        }
        request
    }

    /// Whether the number of a connection or a channel can be used.
    ///
    /// # Errors
    /// Why not, without the token.
    pub async fn probe(config: &Value, workshop: &Workshop, at: Timestamp) -> Result<(), SendError> {
        /// Of a connection or of a channel, which has more.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct AccountConfig {
            phone_number_id: Id,
            access_token: Redacted<String>,
            api_base: Option<String>,
            api_version: Option<String>,
        }

        let account = settings::read::<AccountConfig>(config).and_then(|config| {
            let (base, version) = (config.api_base.as_deref(), config.api_version.as_deref());
            Account::read(&config.phone_number_id, &config.access_token, base, version, workshop)
        });
        let account = account.map_err(|fault| {
            let detail = format!("the account's settings: {fault}");
            SendError::Ours(Failure::new(Reason::Misconfigured, detail))
        })?;
        let mut url = account.base;
        url.set_query(Some("fields=id"));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, account.authorization);
        let answer = workshop.http.ask(Method::GET, &url, headers, Bytes::new(), at).await?;
        refused(&answer, true)
    }
}

#[derive(Deserialize)]
struct Accepted {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    id: String,
}

#[derive(Deserialize)]
struct Refused {
    error: ApiError,
}

#[derive(Deserialize)]
struct ApiError {
    code: u32,
}

/// `is_alone`: the channel has one number to send to, so that what holds for the pair holds for all of it.
fn classify(answer: &Answer, is_alone: bool) -> Result<Receipt, SendError> {
    refused(answer, is_alone)?;
    let Ok(accepted) = serde_json::from_slice::<Accepted>(&answer.body) else {
        // It may have been sent: another try may repeat it, giving up may lose it.
        let failure = Failure::new(Reason::ProviderError, "the answer was cut short or is not Meta's");
        return Err(SendError::Transient { failure: failure.code(answer.status), retry_after: None });
    };
    let provider_id = accepted.messages.into_iter().next().map(|message| message.id);
    Ok(Receipt { provider_id, code: Some(answer.status), ..Receipt::default() })
}

fn refused(answer: &Answer, is_alone: bool) -> Result<(), SendError> {
    let Ok(Refused { error }) = serde_json::from_slice::<Refused>(&answer.body) else {
        return classify_provider_status(answer.status, answer.retry_after);
    };
    if let Some(known) = errors::classify(error.code, answer, is_alone) {
        return Err(known);
    }
    let detail = format!("WhatsApp answered {}, which is not known", error.code);
    if let Err(by_status) = classify_provider_status(answer.status, answer.retry_after) {
        let with_code = |failure: Failure| {
            let detail = format!("{detail}: {}", failure.detail);
            Failure { detail, ..failure }
        };
        return Err(by_status.with_failure(with_code));
    }
    // A refusal under a status that says the opposite.
    let failure = Failure::new(Reason::ProviderError, detail).code(answer.status);
    Err(SendError::Transient { failure, retry_after: answer.retry_after })
}

#[cfg(test)]
mod tests;
