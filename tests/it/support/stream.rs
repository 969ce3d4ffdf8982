//! A reader of server-sent events, as the WHATWG specification has them.

use std::time::Duration;

use serde_json::Value;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sent {
    pub id: String,
    pub event: String,
    pub data: String,
}

impl Sent {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

pub struct LiveStream {
    pub response: reqwest::Response,
    buffer: Vec<u8>,
    /// So much of the buffer has no empty line.
    looked_at: usize,
}

impl LiveStream {
    #[track_caller]
    pub fn open(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        let content_type = response.headers()["content-type"].to_str().unwrap();
        assert!(content_type.starts_with("text/event-stream"), "{content_type}");
        Self { response, buffer: Vec::new(), looked_at: 0 }
    }

    /// The next event with data; comments are passed over. None when the server ended the stream.
    pub async fn next(&mut self, patience: Duration) -> Option<Sent> {
        loop {
            let block = self.block(patience).await?;
            let sent = parse(&block);
            if !sent.data.is_empty() {
                return Some(sent);
            }
        }
    }

    /// The next outcome; what else the server says is passed over.
    pub async fn outcome(&mut self, patience: Duration) -> Sent {
        loop {
            let sent = self.next(patience).await.expect("the stream goes on");
            if sent.event == "outcome" {
                return sent;
            }
        }
    }

    /// Everything between here and the next empty line, comments included.
    pub async fn block(&mut self, patience: Duration) -> Option<String> {
        loop {
            let start = self.looked_at.saturating_sub(1);
            if let Some(end) = self.buffer[start..].windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..start + end + 2).collect();
                self.looked_at = 0;
                return Some(String::from_utf8(block).unwrap());
            }
            self.looked_at = self.buffer.len();
            let chunk = tokio::time::timeout(patience, self.response.chunk());
            match chunk.await.expect("the stream sends something in time") {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

fn parse(block: &str) -> Sent {
    let mut sent = Sent::default();
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => value.clone_into(&mut sent.id),
            "event" => value.clone_into(&mut sent.event),
            "data" => sent.data.push_str(value),
            _ => {}
        }
    }
    sent
}
