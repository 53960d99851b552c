//! BUILD_IP, ASSIGN_IP, REMOVE_IP and DELETE_IP: floating addresses.

use std::{net::IpAddr, time::Duration};

use capstan_plugin_api::{
    DriverError, ErrorCode,
    cloud::{AssignIp, FloatingIp, Ip as IpRequest},
};
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

use super::{Answer, Request, text};
use crate::{
    failpoint,
    pool::{
        Cloud, Pool,
        cloud::Made,
        records::{Ip, IpState},
    },
    store::{
        Error,
        runner::{Next, Running, Stop},
    },
};

/// One attempt to reach the port behind a floating address, how often it is tried and how long apart: libra's numbers.
const CONNECT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(2);
/// From one search for an address whose making was not answered to the next.
const SEARCH_PAUSE: Duration = Duration::from_secs(2);

fn failed(error: &DriverError) -> (String, Map<String, Value>) {
    (error.to_string(), Map::new())
}

fn address(request: &Request) -> Result<IpAddr, (String, Map<String, Value>)> {
    let found = text(request, "ip")?;
    found.parse().map_err(|_| (format!("{found:?} in \"ip\" is no address"), Map::new()))
}

impl Pool {
    /// The cloud that a request names, or that of the first stock.
    fn cloud_of(&self, request: &Request) -> Result<&Cloud, (String, Map<String, Value>)> {
        let settings = self.settings();
        let first = settings.stocks.first().map(|stock| stock.cloud.as_str());
        let name = request.get("cloud").and_then(Value::as_str).or(first).unwrap_or("default");
        self.cloud(name).map_err(|_| {
            let known: Vec<_> = self.inner.clouds.keys().map(String::as_str).collect();
            (format!("there is no cloud {name:?} in the farm; there are {}", known.join(", ")), Map::new())
        })
    }

    /// Takes a floating address. Clouds have no names and no tags for them, so what the account had before is written down first: should
    /// the answer be lost, the one that is new, on no node and of no other row is the one.
    pub(super) async fn build_ip(&self, running: &Running, request: &Request) -> Result<Result<Answer, Next>, Error> {
        let cloud = match self.cloud_of(request) {
            Ok(cloud) => cloud,
            Err(refused) => return Ok(Ok(Err(refused))),
        };
        let id = running.job.id.clone();
        let begun = self.store().read({
            let id = id.clone();
            move |tx| Ip::find(tx, &id)
        });
        let mut record = match begun.await? {
            Some(record) => record,
            None => {
                let before = match cloud.ips().await {
                    Ok(before) => before,
                    Err(error) => return Ok(Ok(Err(failed(&error)))),
                };
                failpoint::reached("pool.ip.before");
                let record = Ip {
                    id,
                    cloud: cloud.name.clone(),
                    state: IpState::Planned,
                    ip: None,
                    address: None,
                    known_before: before.into_iter().map(|ip| ip.id).collect(),
                    created: 0,
                    updated: 0,
                };
                let record = save(running, record).await?;
                match cloud.allocate_ip().await {
                    Ok(found) => {
                        failpoint::reached("pool.ip.asked");
                        let record = hold(running, record, &found).await?;
                        return Ok(Ok(Ok(told(&record))));
                    }
                    Err(error) if Made::by(&error) == Made::No => {
                        let mut record = record;
                        record.state = IpState::Released;
                        save(running, record).await?;
                        return Ok(Ok(Err(failed(&error))));
                    }
                    Err(error) => {
                        tracing::warn!(cloud = cloud.name, %error, "the cloud may have given an address; it is looked for");
                        record
                    }
                }
            }
        };
        if record.state == IpState::Held {
            return Ok(Ok(Ok(told(&record))));
        }
        let (began, limit) = (tokio::time::Instant::now(), self.settings().search_time);
        loop {
            let now = cloud.ips().await;
            if let Ok(now) = now
                && let Some(found) = self.new_one(&record, now).await?
            {
                record = hold(running, record, &found).await?;
                return Ok(Ok(Ok(told(&record))));
            }
            if began.elapsed() >= limit {
                record.state = IpState::Released;
                save(running, record).await?;
                let reason = "the cloud did not answer and shows no new address";
                return Ok(Ok(Err((reason.to_owned(), Map::new()))));
            }
            if running.pause(SEARCH_PAUSE.min(limit / 4)).await == Some(Stop::Ending) {
                return Ok(Err(Next::Released));
            }
        }
    }

    /// The address that came after the record was written and that nobody has. None while another message waits for one too: which is
    /// whose cannot be told, and the first that is answered leaves the other.
    async fn new_one(&self, record: &Ip, now: Vec<FloatingIp>) -> Result<Option<FloatingIp>, Error> {
        let fresh: Vec<_> =
            now.into_iter().filter(|ip| ip.node.is_none() && !record.known_before.contains(&ip.id)).collect();
        let (cloud, id) = (record.cloud.clone(), record.id.clone());
        self.store()
            .read(move |tx| {
                if fresh.len() < 2 && Ip::others_wait(tx, &cloud, &id)? {
                    return Ok(None);
                }
                for ip in &fresh {
                    if !Ip::is_known(tx, &cloud, &ip.id)? {
                        return Ok(Some(ip.clone()));
                    }
                }
                Ok(None)
            })
            .await
    }

    /// Puts an address on a node and answers once the cloud says that it is there and, if that is wanted, its port answers.
    pub(super) async fn assign_ip(&self, running: &Running, request: &Request) -> Answer {
        let (cloud, address) = (self.cloud_of(request)?, address(request)?);
        let node = self.node_id(cloud, text(request, "name")?).await?;
        let assignment = AssignIp { address, node: node.clone() };
        cloud.assign_ip(&assignment).await.map_err(|error| failed(&error))?;
        failpoint::reached("pool.ip.assigned");
        let settings = self.settings();
        for attempt in 1..=settings.assign_checks {
            match cloud.ips().await {
                Ok(ips) => {
                    if ips.iter().any(|ip| ip.address == address && ip.node.as_deref() == Some(&node)) {
                        return match settings.tcp_check_port {
                            Some(port) => port_answers(address, port, BETWEEN).await,
                            None => Ok(Map::new()),
                        };
                    }
                }
                Err(error) => tracing::warn!(%address, %error, "a floating address cannot be looked at"),
            }
            if attempt < settings.assign_checks {
                let _goes_on = running.pause(settings.assign_check_interval).await;
            }
        }
        let reason = format!("the cloud does not show {address} on the node after {} looks", settings.assign_checks);
        Err((reason, Map::new()))
    }

    /// Takes an address off a node.
    pub(super) async fn remove_ip(&self, request: &Request) -> Answer {
        let (cloud, address) = (self.cloud_of(request)?, address(request)?);
        let node = self.node_id(cloud, text(request, "name")?).await?;
        let removed = cloud.remove_ip(&AssignIp { address, node }).await;
        failpoint::reached("pool.ip.removed");
        match removed {
            // Some Novas answer 500 to a removal that they have done.
            Err(error) if error.code == ErrorCode::INTERNAL && self.settings().remove_ip_ignores_errors => {
                Ok(Map::new())
            }
            Err(error) => Err(failed(&error)),
            Ok(()) => Ok(Map::new()),
        }
    }

    /// Gives an address back. One that the account does not have is refused, save when it was given back by us before.
    pub(super) async fn delete_ip(&self, running: &Running, request: &Request) -> Result<Answer, Error> {
        let parts = self.cloud_of(request).and_then(|cloud| Ok((cloud, address(request)?)));
        let (cloud, address) = match parts {
            Ok(parts) => parts,
            Err(refused) => return Ok(Err(refused)),
        };
        match cloud.release_ip(&IpRequest { address }).await {
            Ok(()) => {}
            // The second attempt of this very message.
            Err(error) if error.code == ErrorCode::NOT_FOUND && running.job.attempt > 1 => {}
            Err(error) => return Ok(Err(failed(&error))),
        }
        failpoint::reached("pool.ip.released");
        let name = cloud.name.clone();
        running.write(move |tx| Ip::released(tx, &name, &address.to_string())).await?;
        Ok(Ok(Map::new()))
    }

    /// The cloud's id of a node that is named: the pool's own, or any of exactly this name.
    async fn node_id(&self, cloud: &Cloud, name: &str) -> Result<String, (String, Map<String, Value>)> {
        let wanted = name.to_owned();
        let row = self.store().read(move |tx| crate::pool::records::Node::named(tx, &wanted)).await;
        if let Some(id) = row.ok().flatten().and_then(|node| node.node) {
            return Ok(id);
        }
        let found = cloud.named(name).await.map_err(|error| failed(&error))?;
        match found.as_slice() {
            [node] => Ok(node.id.clone()),
            [] => Err((format!("the cloud {} has no node {name:?}", cloud.name), Map::new())),
            several => Err((format!("the cloud {} has {} nodes {name:?}", cloud.name, several.len()), Map::new())),
        }
    }
}

/// Whether somebody answers at a port, asked as often and as patiently as libra did.
async fn port_answers(address: IpAddr, port: u16, between: Duration) -> Answer {
    let mut last = String::new();
    for attempt in 1..=ATTEMPTS {
        match tokio::time::timeout(CONNECT, TcpStream::connect((address, port))).await {
            Ok(Ok(_)) => return Ok(Map::new()),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no answer within {} s", CONNECT.as_secs()),
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(between).await;
        }
    }
    Err((format!("port {port} of {address} does not answer: {last}"), Map::new()))
}

async fn save(running: &Running, record: Ip) -> Result<Ip, Error> {
    running
        .write(move |tx| {
            let mut record = record.clone();
            record.save(tx)?;
            Ok(record)
        })
        .await
}

async fn hold(running: &Running, mut record: Ip, found: &FloatingIp) -> Result<Ip, Error> {
    record.state = IpState::Held;
    record.ip = Some(found.id.clone());
    record.address = Some(found.address.to_string());
    let record = save(running, record).await?;
    failpoint::reached("pool.ip.recorded");
    Ok(record)
}

/// libra's fields: the cloud's id and the address.
fn told(record: &Ip) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("id".to_owned(), json!(record.ip));
    told.insert("ip".to_owned(), json!(record.address));
    told
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[tokio::test]
    async fn q13_a_port_that_does_not_answer_is_tried_five_times() {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let listener = TcpListener::bind((here, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let between = Duration::from_millis(30);
        assert!(port_answers(here, port, between).await.is_ok());
        drop(listener);
        let began = tokio::time::Instant::now();
        let (reason, _) = port_answers(here, port, between).await.unwrap_err();
        assert!(reason.contains("does not answer"), "{reason}");
        assert!(began.elapsed() >= between * 4, "{:?}", began.elapsed());
    }
}
