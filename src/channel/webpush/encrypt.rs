//! A message that only one browser can read: RFC 8291 over `aes128gcm` of RFC 8188, in one record.
//!
//! Salt and key pair are new for each message: with the same ones twice, the cipher gives both messages away. All primitives are
//! ring's. Source: <https://www.rfc-editor.org/rfc/rfc8291>.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

const RECORD_BYTES: u32 = 4096;
const SALT_BYTES: usize = 16;
const POINT_BYTES: usize = 65;
const POINT_LENGTH: u8 = 65;
/// Behind the text of the last record.
const LAST_RECORD: u8 = 2;

/// What a browser gave to encrypt for it.
pub(super) struct Receiver {
    /// An uncompressed point.
    pub public_key: Vec<u8>,
    pub auth: Vec<u8>,
}

/// True for an uncompressed point that lies on the curve P-256.
#[must_use]
pub fn is_public_key(point: &[u8]) -> bool {
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    own.is_ok_and(|own| agree_ephemeral(own, &UnparsedPublicKey::new(&ECDH_P256, point), |_| ()).is_ok())
}

/// The body of the request. None when the browser's key is none, or the machine has no randomness.
pub(super) fn encrypt(receiver: &Receiver, plain: &[u8]) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &random).ok()?;
    let own_public = own.compute_public_key().ok()?;
    let mut salt = [0; SALT_BYTES];
    random.fill(&mut salt).ok()?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, &receiver.public_key);
    let sender = Sender { public_key: own_public.as_ref(), salt };
    agree_ephemeral(own, &theirs, |shared| seal(receiver, &sender, shared, plain)).ok()?
}

struct Sender<'a> {
    public_key: &'a [u8],
    salt: [u8; SALT_BYTES],
}

fn seal(receiver: &Receiver, sender: &Sender<'_>, shared: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let (key, nonce) = keys(receiver, sender, shared)?;
    let mut body = Vec::with_capacity(SALT_BYTES + 5 + POINT_BYTES + plain.len() + 17);
    body.extend_from_slice(&sender.salt);
    body.extend_from_slice(&RECORD_BYTES.to_be_bytes());
    body.push(POINT_LENGTH);
    body.extend_from_slice(sender.public_key);
    let mut record = plain.to_vec();
    record.push(LAST_RECORD);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record).ok()?;
    body.append(&mut record);
    Some(body)
}

/// The key and the nonce of the one record (RFC 8291, 3.4).
fn keys(receiver: &Receiver, sender: &Sender<'_>, shared: &[u8]) -> Option<([u8; 16], [u8; 12])> {
    let both = [b"WebPush: info\0", receiver.public_key.as_slice(), sender.public_key];
    let secret: [u8; 32] = expand(&Salt::new(HKDF_SHA256, &receiver.auth).extract(shared), &both)?;
    let prk = Salt::new(HKDF_SHA256, &sender.salt).extract(&secret);
    Some((
        expand(&prk, &[b"Content-Encoding: aes128gcm\0"])?,
        expand(&prk, &[b"Content-Encoding: nonce\0"])?,
    ))
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    prk.expand(info, Length(N)).and_then(|okm| okm.fill(&mut bytes)).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
    }

    /// Appendix A of RFC 8291, from the shared secret on: the key agreement itself is ring's.
    #[test]
    fn the_standards_own_example_comes_out_word_for_word() {
        let receiver = Receiver {
            public_key: bytes(
                "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            ),
            auth: bytes("BTBZMqHH6r4Tts7J_aSIgg"),
        };
        let public_key = bytes(
            "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8",
        );
        let sender = Sender {
            public_key: &public_key,
            salt: bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap(),
        };
        let shared = bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let (key, nonce) = keys(&receiver, &sender, &shared).unwrap();
        assert_eq!(key.as_slice(), bytes("oIhVW04MRdy2XN9CiKLxTg"));
        assert_eq!(nonce.as_slice(), bytes("4h_95klXJ5E_qnoN"));
        let body = seal(&receiver, &sender, &shared, b"When I grow up, I want to be a watermelon").unwrap();
        assert_eq!(
            BASE64URL_NOPAD.encode(&body),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml\
             mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT\
             pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn two_messages_never_look_the_same_and_a_point_off_the_curve_is_no_key() {
        let mut point = bytes(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        );
        let receiver = Receiver { public_key: point.clone(), auth: vec![1; 16] };
        assert_ne!(encrypt(&receiver, b"x").unwrap(), encrypt(&receiver, b"x").unwrap());
        assert!(is_public_key(&point));
        point[64] ^= 1;
        assert!(!is_public_key(&point) && !is_public_key(&point[..33]) && !is_public_key(b""));
    }
}
