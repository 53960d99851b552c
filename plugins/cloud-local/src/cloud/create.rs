//! How a node comes into being: first the record, then its files, then its processes.

use std::{collections::HashSet, fs, net::Ipv4Addr, os::unix::fs::DirBuilderExt, path::Path, time::SystemTime};

use capstan_plugin_api::{
    CallContext, DriverError, ErrorCode, LogLevel,
    cloud::{CreateNode, Node},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{ASIDE, Cloud, Held, catalog::LOCATION, failed, view::view};
use crate::{
    durable,
    image::{Manifest, Values, install},
    node_folder::{NodeFolder, new_id},
    record::{Plan, Record, Wanted},
};

/// A host name's label, as the name is filled into files of any syntax.
const LONGEST_NAME: usize = 63;
const MOST_USER_DATA: usize = 64 << 10;
const MOST_TAGS: usize = 64 << 10;

impl Cloud {
    pub fn create_node(&self, call: &CallContext, request: &CreateNode) -> Result<Node, DriverError> {
        check(request)?;
        let image = self.image(&request.image).ok_or_else(|| unknown("image", &request.image))?;
        let manifest = Manifest::read(&image).map_err(|wrong| {
            DriverError::invalid_argument(format!("the image {:?} cannot be used", request.image)).for_operator(wrong)
        })?;
        let manifest = manifest.ok_or_else(|| unknown("image", &request.image))?;
        let held = match self.reserve(call, request)? {
            Reserved::New(held) => *held,
            Reserved::Known(id) => self.hold(call, &id)?,
        };
        let mut record = held.record()?;
        let folder = held.folder.clone();
        if record.fault.is_none() && record.wanted == Wanted::Running && !has_begun(&folder, &record) {
            let built = self.build(&mut record, &image, &manifest, request, &folder).map_err(DriverError::internal);
            if let Err(error) = built.and_then(|()| self.bring_up(call, &folder, &mut record)) {
                call.log(LogLevel::Warn, &format!("the node {} cannot be built: {error}", record.id));
                record.fault = Some(format!("it cannot be built: {error}"));
                self.save(&folder, &record)?;
            }
        }
        drop(held);
        Ok(view(&folder, record))
    }

    /// The node of this token, or a new one: a record and an address, on disk, and nothing more.
    fn reserve(&self, call: &CallContext, request: &CreateNode) -> Result<Reserved, DriverError> {
        let _cloud = self.lock(call)?;
        if let Some(record) = self.by_token(&request.client_token)? {
            if (&record.name, &record.image, &record.size) != (&request.name, &request.image, &request.size) {
                let wrong = "the client token was used for a node of another name, image or size; a token belongs to one request";
                return Err(DriverError::invalid_argument(wrong));
            }
            return Ok(Reserved::Known(record.id));
        }
        self.clear();
        let folders = self.all()?;
        if folders.len() >= self.options.max_nodes as usize {
            let most = self.options.max_nodes;
            return Err(DriverError::new(
                ErrorCode::QUOTA_EXCEEDED,
                format!("the cloud has {most} nodes, which is the most"),
            ));
        }
        let taken = folders.iter().filter_map(|folder| Some(folder.record().ok()??.address)).collect();
        let record = self.record(request, self.address(&taken)?)?;
        let aside = NodeFolder::new(self.nodes().join(format!("{ASIDE}{}", record.id)));
        let folder = NodeFolder::new(self.nodes().join(&record.id));
        let fault = |error: std::io::Error| failed("cannot keep the node", folder.path(), &error);
        fs::DirBuilder::new().mode(0o700).create(aside.path()).map_err(fault)?;
        aside.save(&record).map_err(fault)?;
        let changes = aside.changes().map_err(fault)?;
        changes.try_lock().map_err(|error| failed("cannot keep the node", folder.path(), &error))?;
        // Never over another node: a folder that is not empty is not replaced.
        fs::rename(aside.path(), folder.path()).map_err(fault)?;
        durable::sync_folder(&self.nodes()).map_err(fault)?;
        Ok(Reserved::New(Box::new(Held { folder, record: Ok(record), _changes: changes })))
    }

    /// The next address. Which was the last is a hint: losing it costs nothing but that an address comes again early.
    fn address(&self, taken: &HashSet<Ipv4Addr>) -> Result<Ipv4Addr, DriverError> {
        let hint = self.options.directory.join("last-address");
        let last = durable::read(&hint).ok().flatten();
        let next = self.options.addresses.next(last, taken).ok_or_else(|| {
            DriverError::new(
                ErrorCode::QUOTA_EXCEEDED,
                format!("all {} addresses are taken", self.options.addresses.len()),
            )
        })?;
        durable::replace_volatile(&hint, &next).map_err(|error| failed("cannot keep the node", &hint, &error))?;
        Ok(next)
    }

    fn record(&self, request: &CreateNode, address: Ipv4Addr) -> Result<Record, DriverError> {
        if !self.options.sizes.contains_key(&request.size) {
            return Err(unknown("size", &request.size));
        }
        let id = new_id().map_err(|error| failed("cannot draw an id", Path::new("/dev/urandom"), &error))?;
        Ok(Record {
            id,
            name: request.name.clone(),
            address,
            image: request.image.clone(),
            size: request.size.clone(),
            created_at: OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).unwrap_or_default(),
            tags: request.tags.clone(),
            client_token: request.client_token.clone(),
            wanted: Wanted::Running,
            run: 0,
            plan: None,
            fault: None,
        })
    }

    /// The node's files, and what it runs. What is there already stays.
    fn build(
        &self,
        record: &mut Record,
        image: &Path,
        manifest: &Manifest,
        request: &CreateNode,
        folder: &NodeFolder,
    ) -> Result<(), String> {
        if record.plan.is_some() {
            return Ok(());
        }
        let user_data = request.user_data.expose();
        let text = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path is not UTF-8");
        let binary = std::env::current_exe().map_err(|error| format!("the daemon's binary is not known: {error}"))?;
        let (dir, image_dir, capstan) = (text(&folder.disk())?, text(image)?, text(&binary)?);
        let address = record.address.to_string();
        // On loopback the machine and its nodes are one.
        let machine = self.options.gateway.unwrap_or(Ipv4Addr::LOCALHOST).to_string();
        let own = [
            ("ADDRESS", address.as_str()),
            ("CAPSTAN", &capstan),
            ("DIR", &dir),
            ("ID", &record.id),
            ("IMAGE", &image_dir),
            ("MACHINE", &machine),
            ("NAME", &record.name),
            ("USER_DATA", user_data),
        ];
        let variables = manifest.variables.iter().chain(&self.options.variables);
        let values = Values::new(variables.map(|(name, value)| (name.as_str(), value.as_str())).chain(own));
        let size = self.options.sizes.get(&record.size).ok_or("its size is not there any more")?;
        let plan: Plan = manifest.plan(&values, size.limits(), self.options.gateway)?;
        install(image, manifest, &values, user_data, &folder.disk())?;
        record.plan = Some(plan);
        Ok(())
    }

    /// The start is written down before it is made; a supervisor that is there already, because a crash came in between, is the one.
    fn bring_up(&self, call: &CallContext, folder: &NodeFolder, record: &mut Record) -> Result<(), DriverError> {
        record.run = 1;
        self.save(folder, record)?;
        self.start(call, folder, record.run)
    }

    pub(super) fn save(&self, folder: &NodeFolder, record: &Record) -> Result<(), DriverError> {
        folder.save(record).map_err(|error| failed("cannot keep the node", folder.path(), &error))
    }
}

/// It was started once, and has a life of its own.
fn has_begun(folder: &NodeFolder, record: &Record) -> bool {
    record.run > 1 || folder.status().is_some_and(|status| status.run == record.run)
}

enum Reserved {
    New(Box<Held>),
    Known(String),
}

fn check(request: &CreateNode) -> Result<(), DriverError> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let name = &request.name;
    if !(1..=LONGEST_NAME).contains(&name.len())
        || !name.bytes().all(is_plain)
        || !name.as_bytes()[0].is_ascii_alphanumeric()
    {
        let shown: String = name.chars().take(100).collect();
        return Err(DriverError::invalid_argument(format!(
            "the name {shown:?} is not of letters, digits, '.', '_' and '-', a letter or digit first, 1 to {LONGEST_NAME} bytes"
        )));
    }
    if request.location.as_deref().is_some_and(|location| location != LOCATION) {
        return Err(DriverError::invalid_argument(format!("this cloud has one location, {LOCATION:?}")));
    }
    for (what, is_asked) in [
        ("key pairs", request.key_pair.is_some()),
        ("security groups", !request.security_groups.is_empty()),
        ("networks", !request.networks.is_empty()),
    ] {
        if is_asked {
            return Err(DriverError::invalid_argument(format!("this cloud has no {what}; leave them out")));
        }
    }
    let tags: usize = request.tags.iter().map(|(name, value)| name.len() + value.len()).sum();
    if request.user_data.expose().len() > MOST_USER_DATA || tags > MOST_TAGS {
        return Err(DriverError::invalid_argument("the user data and the tags may have 64 KiB each"));
    }
    Ok(())
}

fn unknown(what: &str, id: &str) -> DriverError {
    let shown: String = id.chars().take(100).collect();
    DriverError::invalid_argument(format!("this cloud has no {what} {shown:?}"))
}
