//! A form with files (RFC 7578), made the same way from the same parts, so that each try sends the same body.

use crate::ids::digest;

/// One part of a form.
pub struct Part {
    pub name: String,
    /// A file's name: without `"` and control characters, as attachments have them.
    pub file: Option<String>,
    pub content_type: String,
    pub bytes: Vec<u8>,
}

/// The content type and the body. `seed` names what is sent; a boundary that stands in a part is passed over.
#[must_use]
pub fn form(seed: &str, parts: &[Part]) -> (String, Vec<u8>) {
    let mut boundary = digest(&[seed]);
    while parts.iter().any(|part| contains(&part.bytes, boundary.as_bytes())) {
        boundary = digest(&[&boundary]);
    }
    let mut body = Vec::new();
    for part in parts {
        let file = part.file.as_ref().map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"{file}\r\nContent-Type: {}\r\n\r\n",
            part.name, part.content_type
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&part.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, file: Option<&str>, bytes: &[u8]) -> Part {
        let content_type = "text/plain".to_owned();
        Part { name: name.to_owned(), file: file.map(str::to_owned), content_type, bytes: bytes.to_vec() }
    }

    #[test]
    fn a_form_is_its_parts_between_boundaries_that_are_in_none_of_them() {
        let first = digest(&["seed"]);
        let (plain, _) = form("seed", &[part("a", None, b"x")]);
        assert_eq!(plain, format!("multipart/form-data; boundary={first}"));
        let (content_type, body) =
            form("seed", &[part("a", None, first.as_bytes()), part("b", Some("ä.txt"), b"y")]);
        let boundary = content_type.split_once('=').unwrap().1;
        assert_ne!(boundary, first);
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain\r\n\r\n{first}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"b\"; filename=\"ä.txt\"\r\nContent-Type: text/plain\r\n\r\ny\r\n\
             --{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
}
