//! What the driver that calls this daemon's own device API gets where its entry says nothing.

use std::path::{Path, PathBuf};

use super::{Daemon, DriverProgram, Http};
use crate::config::{
    Origin,
    read::{Node, Table, TableReader, Value},
};

/// The library of that driver.
const LIBRARY: &str = "libcapstan_mgm_local.so";

/// Where this daemon's device API is, and the token for it.
pub(super) struct OwnApi {
    /// None where the daemon has no listeners.
    socket: Option<PathBuf>,
    token_file: PathBuf,
}

impl OwnApi {
    pub(super) fn of(http: &Http, daemon: &Daemon) -> Self {
        Self { socket: http.enabled.then(|| http.socket.clone()), token_file: daemon.device_token_file() }
    }

    /// Completes the table `config` of an entry: the daemon's socket if none is named, and its token for no other socket. A
    /// socket that is named is read as every path is.
    pub(super) fn complete(&self, program: &DriverProgram, table: &mut TableReader<'_, '_>) {
        if !matches!(program, DriverProgram::Library(path) if path.file_name() == Some(LIBRARY.as_ref())) {
            return;
        }
        let origin = table.origin.clone();
        let mut config = table.take("config").unwrap_or_else(|| Node::new(Value::Table(Table::new()), origin));
        if let Value::Table(keys) = &mut config.value {
            let named = keys.get_mut("socket").map(|node| match &node.value {
                Value::Text(text) => {
                    let path = node.origin.absolute(Path::new(text));
                    node.value = text_of(&path);
                    Some(path)
                }
                _ => None,
            });
            let socket = named.unwrap_or_else(|| self.socket.clone());
            match &self.socket {
                Some(own) if socket.as_ref() == Some(own) => {
                    keys.entry("socket".to_owned()).or_insert_with(|| Node::new(text_of(own), Origin::Default));
                    keys.entry("token".to_owned()).or_insert_with(|| self.token());
                }
                None if socket.is_none() && !keys.contains_key("socket") => {
                    let key = table.key("config.socket");
                    let expected = "the socket of the daemon to call, for this one listens nowhere (http.enabled)";
                    table.session.fault(config.origin.clone(), &key, "nothing", expected, "add socket");
                }
                _ => {}
            }
        }
        table.put_back("config", config);
    }

    fn token(&self) -> Node {
        let file = Node::new(text_of(&self.token_file), Origin::Default);
        Node::new(Value::Table(Table::from([("file".to_owned(), file)])), Origin::Default)
    }
}

fn text_of(path: &Path) -> Value {
    Value::Text(path.display().to_string())
}
