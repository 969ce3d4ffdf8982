//! JSON as people write it: a key that stands in one object twice is a fault. Elsewhere the last one wins in silence.
//!
//! It looks through the text before it is read, and makes nothing of it: what it passes is parsed as always.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::rule::fault::{Fault, field_pointer, shortened};

/// # Errors
/// Where it stops being JSON, or the place of the key that is there twice.
pub fn json(text: &[u8]) -> Result<Value, Fault> {
    if text.trim_ascii().is_empty() {
        return Err(Fault::here("is not JSON: it is empty"));
    }
    let place = RefCell::new(String::new());
    let mut reader = serde_json::Deserializer::from_slice(text);
    match (Looked { place: &place }).deserialize(&mut reader) {
        Err(error) if error.is_data() => {
            let twice = place.into_inner();
            let key = twice.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~");
            let message = format!("the key {:?} is there twice (line {})", shortened(&key), error.line());
            Err(Fault::new(twice, message))
        }
        Ok(()) | Err(_) => {
            serde_json::from_slice(text).map_err(|error| Fault::here(format!("is not JSON: {error}")))
        }
    }
}

/// A value that is looked through; `place` is where it stands, and stays where the fault is.
struct Looked<'a> {
    place: &'a RefCell<String>,
}

impl Looked<'_> {
    fn below<E>(&self, step: &str, look: impl FnOnce(Self) -> Result<(), E>) -> Result<(), E> {
        let length = self.place.borrow().len();
        self.place.borrow_mut().push_str(step);
        look(Looked { place: self.place })?;
        self.place.borrow_mut().truncate(length);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Looked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Looked<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut more = true;
        let mut index = 0_usize;
        while more {
            self.below(&format!("/{index}"), |inner| {
                more = items.next_element_seed(inner)?.is_some();
                Ok(())
            })?;
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            self.below(&field_pointer(&key), |inner| {
                if seen.contains(&key) {
                    return Err(A::Error::custom("twice"));
                }
                fields.next_value_seed(inner)
            })?;
            seen.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_named_with_its_place() {
        let text = b"{\"rules\": [{\"id\": \"a\"},\n {\"id\": \"b\", \"a/b\": 1, \"a/b\": 2}], \"id\": 1}";
        assert_eq!(
            json(text).unwrap_err(),
            Fault::new("/rules/1/a~1b", "the key \"a/b\" is there twice (line 2)")
        );
    }

    #[test]
    fn the_same_key_in_two_objects_is_fine_and_numbers_stay_what_they_are() {
        let text = br#"{"a": {"a": [1, -2, 1.5, 18446744073709551615, true, null, "x"]}, "b": {"a": {}}}"#;
        let expected = json!({
            "a": { "a": [1, -2, 1.5, 18_446_744_073_709_551_615_u64, true, null, "x"] }, "b": { "a": {} },
        });
        assert_eq!(super::json(text).unwrap(), expected);
        for broken in ["{", "{} x", "", "\u{0}"] {
            assert!(super::json(broken.as_bytes()).unwrap_err().message.contains("not JSON"), "{broken}");
        }
        let deep = "[".repeat(100_000);
        assert!(super::json(deep.as_bytes()).unwrap_err().message.contains("not JSON"));
    }
}
