//! TLS of a channel's own: the certificate it shows, and an authority it trusts besides the public ones.
//!
//! Nothing here can switch verification off. PEM comes as text, usually from a variable; one whose line ends were written as
//! `\n`, as files of variables have them, is read too.

use reqwest::{Certificate, ClientBuilder, Identity};

use crate::channel::secret::Redacted;
use crate::rule::fault::Fault;

/// What a client has of its own. It does not print.
pub struct Own {
    identity: Option<Identity>,
    authorities: Vec<Certificate>,
}

/// As a channel's configuration names them.
#[derive(Default)]
pub struct Pems<'a> {
    pub certificate: Option<&'a Redacted<String>>,
    pub key: Option<&'a Redacted<String>>,
    pub authority: Option<&'a Redacted<String>>,
}

impl Own {
    /// None where nothing is named.
    ///
    /// # Errors
    /// The field and the fault, never the value.
    pub fn read(pems: &Pems<'_>) -> Result<Option<Self>, Fault> {
        let given = |pem: Option<&Redacted<String>>| {
            pem.map(|pem| lines(pem.expose())).filter(|pem| !pem.trim().is_empty())
        };
        let (certificate, key) = (given(pems.certificate), given(pems.key));
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(identity(&certificate, &key)?),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Fault::new("/clientKey", "is missing: clientCertificate needs it"));
            }
            (None, Some(_)) => {
                return Err(Fault::new("/clientCertificate", "is missing: clientKey belongs to one"));
            }
        };
        let authorities = match given(pems.authority) {
            Some(pem) => certificates(&pem, "/caCertificate")?,
            None => Vec::new(),
        };
        let nothing = identity.is_none() && authorities.is_empty();
        Ok((!nothing).then_some(Self { identity, authorities }))
    }

    pub(super) fn apply(self, mut builder: ClientBuilder) -> ClientBuilder {
        if let Some(identity) = self.identity {
            builder = builder.identity(identity);
        }
        // Merged: the public authorities stay trusted, and the certificate is checked as ever.
        builder.tls_certs_merge(self.authorities)
    }
}

fn lines(pem: &str) -> String {
    if pem.contains('\n') { pem.to_owned() } else { pem.replace("\\n", "\n") }
}

fn certificates(pem: &str, pointer: &str) -> Result<Vec<Certificate>, Fault> {
    match Certificate::from_pem_bundle(pem.as_bytes()) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => {
            Err(Fault::new(pointer, "is no certificate in PEM (`-----BEGIN CERTIFICATE-----`)"))
        }
    }
}

fn identity(certificate: &str, key: &str) -> Result<Identity, Fault> {
    certificates(certificate, "/clientCertificate")?;
    Identity::from_pem(format!("{}\n{}\n", key.trim_end(), certificate.trim_end()).as_bytes())
        .map_err(|_| Fault::new("/clientKey", "is no private key in PEM (`-----BEGIN PRIVATE KEY-----`)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(certificate: Option<&str>, key: Option<&str>, authority: Option<&str>) -> Result<bool, Fault> {
        let [certificate, key, authority] =
            [certificate, key, authority].map(|pem| pem.map(|pem| Redacted::new(pem.to_owned())));
        let pems =
            Pems { certificate: certificate.as_ref(), key: key.as_ref(), authority: authority.as_ref() };
        Own::read(&pems).map(|own| own.is_some())
    }

    #[test]
    fn halves_and_texts_that_are_no_pem_are_faults_without_their_values() {
        let pair = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let (certificate, key) = (certificate.as_str(), key.as_str());
        for (found, pointer) in [
            (read(Some(certificate), None, None), "/clientKey"),
            (read(None, Some(key), None), "/clientCertificate"),
            (read(Some("hunter2"), Some(key), None), "/clientCertificate"),
            (read(Some(certificate), Some("hunter2"), None), "/clientKey"),
            (read(Some(certificate), Some(certificate), None), "/clientKey"),
            (read(None, None, Some("hunter2")), "/caCertificate"),
            (read(None, None, Some(key)), "/caCertificate"),
        ] {
            let fault = found.unwrap_err();
            assert_eq!(fault.pointer, pointer, "{fault}");
            assert!(!fault.message.contains("hunter2"), "{fault}");
        }
        let flat = certificate.replace('\n', "\\n");
        assert_eq!(read(Some(&flat), Some(&key.replace('\n', "\\n")), Some(&flat)), Ok(true));
        assert_eq!(read(None, Some(""), Some(" ")), Ok(false));
    }
}
