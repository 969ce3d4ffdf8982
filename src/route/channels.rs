//! The channels, as routing and workers see them: their documents, and which of them get nothing for how they stand.
//!
//! How a channel stands comes apart from its document and from its connection's, and before them or behind them; what they
//! come to is found out when one of them changes, not for each delivery.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use crate::channel::standing::{ChannelStanding, Closed, digest_of, is_of_file};
use crate::channel::{ChannelSpec, Kind};
use crate::connection::ConnectionSpec;
use crate::delivery::Delivery;
use crate::ids::{ChannelId, ConnectionId, WorkspaceId};
use crate::notification;

/// A channel's place.
pub type Id = (WorkspaceId, ChannelId);

/// A connection's place.
type ConnectionAt = (WorkspaceId, ConnectionId);

/// The channel that every workspace has without a document of that name: the way into its inboxes.
pub fn without_document(id: &ChannelId) -> Option<&'static Arc<ChannelSpec>> {
    static IN_APP: OnceLock<Option<Arc<ChannelSpec>>> = OnceLock::new();
    let spec = IN_APP.get_or_init(|| {
        let id = ChannelId::parse(notification::CHANNEL).ok()?;
        Some(Arc::new(ChannelSpec::plain(id, Kind::InApp)))
    });
    spec.as_ref().filter(|spec| spec.id == *id)
}

/// Used as the map of the documents, in which what was put by nobody's name is open.
#[derive(Debug, Clone, Default)]
pub struct Channels {
    specs: HashMap<Id, Arc<ChannelSpec>>,
    standings: HashMap<Id, Arc<ChannelStanding>>,
    of_files: HashSet<Id>,
    closed: HashMap<Id, Arc<Closed>>,
    connections: HashMap<ConnectionAt, Arc<ConnectionSpec>>,
    /// Who is to be looked at when a connection changes.
    on: HashMap<ConnectionAt, BTreeSet<ChannelId>>,
}

impl Channels {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A channel's document, or what stands for it where there is none.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Arc<ChannelSpec>> {
        self.specs.get(id).or_else(|| without_document(&id.1))
    }

    #[must_use]
    pub fn contains_key(&self, id: &Id) -> bool {
        self.get(id).is_some()
    }

    /// True where somebody has written one.
    #[must_use]
    pub fn has_document(&self, id: &Id) -> bool {
        self.specs.contains_key(id)
    }

    /// A document and its owner.
    pub fn put(&mut self, id: Id, spec: Arc<ChannelSpec>, owner: &str) {
        if is_of_file(owner) {
            self.of_files.insert(id.clone());
        } else {
            self.of_files.remove(&id);
        }
        self.leave(&id);
        if let Some(connection) = &spec.connection {
            self.on.entry((id.0.clone(), connection.clone())).or_default().insert(id.1.clone());
        }
        self.specs.insert(id.clone(), spec);
        self.settle(id);
    }

    /// A connection, or None when it is gone.
    pub fn connect(&mut self, at: &ConnectionAt, connection: Option<Arc<ConnectionSpec>>) {
        match connection {
            Some(connection) => self.connections.insert(at.clone(), connection),
            None => self.connections.remove(at),
        };
        for channel in self.on.get(at).cloned().unwrap_or_default() {
            self.settle((at.0.clone(), channel));
        }
    }

    pub fn withdraw(&mut self, id: &Id) {
        self.leave(id);
        self.specs.remove(id);
        self.of_files.remove(id);
        self.closed.remove(id);
    }

    /// How a channel stands; None when nothing is known any more.
    pub fn stand(&mut self, id: Id, standing: Option<ChannelStanding>) {
        match standing {
            Some(standing) => self.standings.insert(id.clone(), Arc::new(standing)),
            None => self.standings.remove(&id),
        };
        self.settle(id);
    }

    /// Takes a document as others hold it.
    pub fn adopt(&mut self, other: &Self, id: &Id) -> bool {
        let Some(spec) = other.specs.get(id) else { return false };
        let owner = if other.of_files.contains(id) { "file:" } else { "" };
        self.put(id.clone(), Arc::clone(spec), owner);
        true
    }

    /// Why a channel that is on gets nothing.
    #[must_use]
    pub fn closed(&self, id: &Id) -> Option<&Closed> {
        self.closed.get(id).map(Arc::as_ref)
    }

    /// The same for a delivery's channel.
    #[must_use]
    pub fn closed_to(&self, delivery: &Delivery) -> Option<&Closed> {
        if self.closed.is_empty() {
            return None;
        }
        self.closed(&(delivery.workspace.clone(), delivery.channel.clone()))
    }

    #[must_use]
    pub fn standing(&self, id: &Id) -> Option<&Arc<ChannelStanding>> {
        self.standings.get(id)
    }

    /// It is no more on the connection that it names.
    fn leave(&mut self, id: &Id) {
        let Some(connection) = self.specs.get(id).and_then(|spec| spec.connection.clone()) else { return };
        let at = (id.0.clone(), connection);
        let Some(on) = self.on.get_mut(&at) else { return };
        on.remove(&id.1);
        if on.is_empty() {
            self.on.remove(&at);
        }
    }

    fn address(&self, id: &Id, spec: &ChannelSpec) -> String {
        let connection =
            spec.connection.as_ref().and_then(|named| self.connections.get(&(id.0.clone(), named.clone())));
        digest_of(spec, connection.map(Arc::as_ref))
    }

    fn settle(&mut self, id: Id) {
        let owner = if self.of_files.contains(&id) { "file:" } else { "" };
        let standing = self.standings.get(&id).cloned().unwrap_or_default();
        let closed = self.specs.get(&id).and_then(|spec| standing.closed(owner, &self.address(&id, spec)));
        match closed {
            Some(closed) => self.closed.insert(id, Arc::new(closed)),
            None => self.closed.remove(&id),
        };
    }
}

impl Deref for Channels {
    type Target = HashMap<Id, Arc<ChannelSpec>>;

    fn deref(&self) -> &Self::Target {
        &self.specs
    }
}

impl DerefMut for Channels {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.specs
    }
}

impl From<HashMap<Id, Arc<ChannelSpec>>> for Channels {
    fn from(specs: HashMap<Id, Arc<ChannelSpec>>) -> Self {
        Self { specs, ..Self::default() }
    }
}
