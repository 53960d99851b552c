//! The calls of an mgm driver, each of them one or more requests to one or more servers.

use std::time::Duration;

use capstan_plugin_api::{
    CallContext, DriverError, ErrorCode, LogLevel, Retry, Secret,
    mgm::{Added, Device, DeviceRequest, Devices, ListDevices, NewDevice, UpdateDevice, Usage},
};
use serde_json::Value;
use ureq::http::Method;

use crate::{
    channel::Channel,
    exchange::{Lost, Reply, Request, Target, exchange, place},
    refusal::{About, refusal},
    run::Run,
    wire::{self, Generation},
};

/// Devices on one page while a device is looked for, and pages until the search gives up.
const PAGE: u32 = 100;
const MOST_PAGES: u32 = 1000;

/// What all requests of a client have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// Sent as a bearer token.
    pub token: Option<Secret>,
    /// The longest time of one request.
    pub timeout: Duration,
    /// The body that registers a device.
    pub generation: Generation,
}

impl Options {
    /// Refuses a token that no header can carry.
    fn checked(self) -> Result<Self, DriverError> {
        let is_sound = |token: &Secret| {
            let token = token.expose();
            !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self.token.as_ref().is_some_and(|token| !is_sound(token)) {
            return Err(DriverError::invalid_argument(
                "token: found a secret that is empty or has blanks, line ends or non-ASCII characters; expected one line as `capstan token \
                 new` prints it",
            ));
        }
        Ok(self)
    }
}

/// A server's URL with its base path.
#[derive(Clone, Debug)]
struct Server {
    base: String,
    shown: String,
}

/// A client of one or more servers that share their devices.
#[derive(Debug)]
pub struct Client<C> {
    channel: C,
    servers: Vec<Server>,
    options: Options,
    run: Run,
}

impl<C: Channel> Client<C> {
    /// A client of these base URLs, of which there is at least one.
    pub fn new(channel: C, urls: Vec<String>, options: Options) -> Result<Self, DriverError> {
        let servers = urls.into_iter().map(|url| Server { shown: url.clone(), base: url }).collect();
        Self::of(channel, servers, options)
    }

    /// A client of one server, which goes by another name in URLs than people are told.
    pub fn named(channel: C, base: &str, shown: String, options: Options) -> Result<Self, DriverError> {
        Self::of(channel, vec![Server { base: base.to_owned(), shown }], options)
    }

    fn of(channel: C, servers: Vec<Server>, options: Options) -> Result<Self, DriverError> {
        let run = Run::new(servers.len());
        Ok(Self { channel, servers, options: options.checked()?, run })
    }

    /// URL of the server in use; before the first call, of the one that is tried first.
    pub fn url(&self) -> String {
        self.servers.get(self.run.order().current()).map(|server| server.shown.clone()).unwrap_or_default()
    }

    /// Begins a run: probes the servers in a new order, and stays with the first that tells its usage.
    pub fn is_online(&self, call: &CallContext) -> Result<bool, DriverError> {
        let order = self.run.fresh();
        let mut last = 0;
        for (tried, (place, server)) in order.starting_with_current().enumerate() {
            match self.usage_of(call, server, self.servers.len() - tried) {
                Ok(_) => {
                    self.run.begin(&order, place);
                    return Ok(true);
                }
                Err(error) if is_end_of_call(&error) => return Err(error),
                Err(error) => call.log(LogLevel::Warn, &format!("a server is not online: {error}")),
            }
            last = place;
        }
        self.run.begin(&order, last);
        Ok(false)
    }

    /// `GET /devices/usage`.
    pub fn usage(&self, call: &CallContext) -> Result<Usage, DriverError> {
        self.ask(call, |server, left| self.usage_of(call, server, left))
    }

    fn usage_of(&self, call: &CallContext, server: usize, left: usize) -> Result<Usage, DriverError> {
        self.read(call, server, left, About::All, &Request::get("/devices/usage"), wire::usage)
    }

    /// `GET /devices`, with `marker` and `limit` where they are given. libra's marker is the number of devices before the page.
    pub fn list(&self, call: &CallContext, request: &ListDevices) -> Result<Devices, DriverError> {
        let before: usize = match &request.marker {
            None => 0,
            Some(marker) => marker.parse().map_err(|_| {
                DriverError::invalid_argument(format!("marker: found {marker:?}; expected the `next` of a page"))
            })?,
        };
        let query =
            [(before > 0).then(|| format!("marker={before}")), request.limit.map(|limit| format!("limit={limit}"))];
        let query = query.into_iter().flatten().collect::<Vec<_>>().join("&");
        let path = if query.is_empty() { "/devices".to_owned() } else { format!("/devices?{query}") };
        let request_devices = Request::get(path);
        let devices =
            self.ask(call, |server, left| self.read(call, server, left, About::All, &request_devices, wire::devices))?;
        // Fewer is the last page, more a server without pages.
        let is_full = request.limit.is_some_and(|limit| devices.len() == limit as usize);
        let next = is_full.then(|| (before + devices.len()).to_string());
        Ok(Devices { devices, next })
    }

    /// `GET /devices/ID`.
    pub fn get(&self, call: &CallContext, request: &DeviceRequest) -> Result<Device, DriverError> {
        let request = Request::get(one(&request.id)?);
        self.ask(call, |server, left| self.read(call, server, left, About::One, &request, wire::device))
    }

    /// `PUT /devices/ID`.
    pub fn update(&self, call: &CallContext, request: &UpdateDevice) -> Result<(), DriverError> {
        let request = Request { method: Method::PUT, path: one(&request.id)?, body: Some(wire::status(request)) };
        self.ask(call, |server, left| self.change(call, server, left, &request))
    }

    /// `DELETE /devices/ID`.
    pub fn delete(&self, call: &CallContext, request: &DeviceRequest) -> Result<(), DriverError> {
        let request = Request { method: Method::DELETE, path: one(&request.id)?, body: None };
        self.ask(call, |server, left| self.change(call, server, left, &request))
    }

    /// `POST /devices`. libra takes the same device twice, so a request of which nobody knows whether it was done is not
    /// simply repeated elsewhere: the next server is asked for the device first.
    pub fn add(&self, call: &CallContext, device: &NewDevice) -> Result<Added, DriverError> {
        let body = wire::registration(self.options.generation, device);
        let request = Request { method: Method::POST, path: "/devices".to_owned(), body: Some(body) };
        let order = self.run.order();
        let mut is_doubtful = false;
        let mut failed = no_server();
        for (tried, (place, server)) in order.starting_with_current().enumerate() {
            let left = self.servers.len() - tried;
            let answer = if is_doubtful { self.find(call, server, left, device) } else { Ok(None) };
            let answer = match answer {
                Ok(Some(found)) => Ok(found),
                Ok(None) => self.register(call, server, left, &request),
                Err(error) => Err(Lost { error, is_doubtful }),
            };
            match answer {
                Ok(added) => {
                    self.run.settle(&order, place);
                    return Ok(added);
                }
                Err(lost) => {
                    is_doubtful |= lost.is_doubtful;
                    failed = lost.error;
                }
            }
            // After a timeout the server may still be at work: the next one would not know of the device yet.
            if !is_for_another_server(&failed) || (is_doubtful && failed.code == ErrorCode::TIMEOUT) {
                break;
            }
            call.log(LogLevel::Warn, &format!("a server failed: {failed}"));
        }
        if is_doubtful {
            let said = format!("{}; whether it has the device {:?} is not known", failed.operator_message, device.name);
            failed = failed.for_operator(said);
        }
        Err(failed)
    }

    fn register(&self, call: &CallContext, server: usize, left: usize, request: &Request) -> Result<Added, Lost> {
        let (place, reply) = self.exchange(call, server, left, request)?;
        let said = |reply: Reply| match reply.no_json {
            None => Some(reply.body),
            Some(_) => Some(Value::String(reply.text)).filter(|text| text != ""),
        };
        match reply.status {
            200 | 201 if reply.is_api() => Ok(Added { accepted: true, response: said(reply) }),
            // A refusal of this device, which the caller hears word for word; not of the caller or of the request as such.
            400 | 422 => Ok(Added { accepted: false, response: said(reply) }),
            status => {
                let error = no_success(About::New, &place, reply);
                Err(Lost { error, is_doubtful: !(300..500).contains(&status) })
            }
        }
    }

    /// Looks for a device that may have been registered.
    fn find(
        &self,
        call: &CallContext,
        server: usize,
        left: usize,
        device: &NewDevice,
    ) -> Result<Option<Added>, DriverError> {
        let mut seen = 0;
        for _ in 0..MOST_PAGES {
            let request = Request::get(format!("/devices?marker={seen}&limit={PAGE}"));
            let page = self.read(call, server, left, About::All, &request, wire::devices)?;
            if let Some(found) = page.iter().find(|found| found.name == device.name && found.address == device.address)
            {
                let response = serde_json::to_value(found).ok();
                return Ok(Some(Added { accepted: true, response }));
            }
            seen += page.len();
            // Fewer is the last page, more a server without pages.
            if page.len() != PAGE as usize {
                return Ok(None);
            }
        }
        Err(DriverError::unavailable("The API server's list of devices has no end.").retry(Retry::Never))
    }

    /// Asks the server in use, and each further one while they fail. For requests that may be made twice.
    fn ask<T>(
        &self,
        call: &CallContext,
        mut one: impl FnMut(usize, usize) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let order = self.run.order();
        let mut failed = no_server();
        for (tried, (place, server)) in order.starting_with_current().enumerate() {
            match one(server, self.servers.len() - tried) {
                Err(error) if is_for_another_server(&error) => {
                    call.log(LogLevel::Warn, &format!("a server failed: {error}"));
                    failed = error;
                }
                answer => {
                    self.run.settle(&order, place);
                    return answer;
                }
            }
        }
        Err(failed)
    }

    /// A request for something; only 200 with JSON of the right shape is a success.
    fn read<T>(
        &self,
        call: &CallContext,
        server: usize,
        left: usize,
        about: About,
        request: &Request,
        shape: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<T, DriverError> {
        let (place, reply) = self.exchange(call, server, left, request).map_err(|lost| lost.error)?;
        if reply.status != 200 || reply.no_json.is_some() {
            return Err(no_success(about, &place, reply));
        }
        shape(&reply.body).map_err(|found| no_device_api(&place, &found))
    }

    /// A request that changes a device; what JSON the answer has counts for nothing.
    fn change(&self, call: &CallContext, server: usize, left: usize, request: &Request) -> Result<(), DriverError> {
        let (place, reply) = self.exchange(call, server, left, request).map_err(|lost| lost.error)?;
        if matches!(reply.status, 200 | 204) && reply.is_api() {
            Ok(())
        } else {
            Err(no_success(About::One, &place, reply))
        }
    }

    /// One request to one server. `left` servers, this one included, share what is left of the call's time; a request that
    /// changes something may take all of it once it is connected, for it is not made again after a timeout.
    fn exchange(
        &self,
        call: &CallContext,
        server: usize,
        left: usize,
        request: &Request,
    ) -> Result<(String, Reply), Lost> {
        call.check().map_err(|error| Lost { error, is_doubtful: false })?;
        let Some(server) = self.servers.get(server) else {
            return Err(Lost { error: no_server(), is_doubtful: false });
        };
        // Kept back, so that what a server did is told before the caller stops listening.
        let time = call.time_left();
        let time = time - (time / 10).min(Duration::from_millis(250));
        let share = time / u32::try_from(left).unwrap_or(u32::MAX).max(1);
        let time = if request.method == Method::POST { time } else { share };
        let target = Target {
            base: &server.base,
            shown: &server.shown,
            user_agent: &self.options.user_agent,
            token: self.options.token.as_ref(),
            time: time.min(self.options.timeout),
            connect_time: share.min(self.options.timeout),
        };
        Ok((place(&target, request), exchange(&self.channel, call, &target, request)?))
    }
}

/// The error for an answer that is no success.
fn no_success(about: About, place: &str, reply: Reply) -> DriverError {
    match reply.no_json {
        Some(found) if reply.status == 200 => no_device_api(place, &found),
        _ => refusal(about, place, &reply),
    }
}

/// A success of something else, such as the log-in page of a proxy.
fn no_device_api(place: &str, found: &str) -> DriverError {
    DriverError::unavailable("The API server gave an answer that is none of the device API.")
        .for_operator(format!("{place}: {found}; check that `servers` and `base_path` lead to the device API"))
        .retry(Retry::Never)
}

fn no_server() -> DriverError {
    DriverError::invalid_argument("servers: found none; expected at least one")
}

/// Another server may do better: this one is away, slow, broken or not what it should be.
fn is_for_another_server(error: &DriverError) -> bool {
    !is_end_of_call(error) && [ErrorCode::UNAVAILABLE, ErrorCode::TIMEOUT].contains(&error.code)
}

/// The call is over, whatever a server did; such an error comes from the call and says nothing of a server.
fn is_end_of_call(error: &DriverError) -> bool {
    error.code == ErrorCode::CANCELLED || (error.code == ErrorCode::TIMEOUT && error.operator_message.is_empty())
}

/// Path of a device. Ids are numbers with libra and short words elsewhere; anything else could lead out of `/devices`.
fn one(id: &str) -> Result<String, DriverError> {
    let is_id = (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        && !matches!(id, "." | ".." | "usage");
    if is_id {
        Ok(format!("/devices/{id}"))
    } else {
        Err(DriverError::invalid_argument("id: expected 1 to 128 of a-z, A-Z, 0-9, \"-\", \"_\", \".\" and \":\""))
    }
}
