//! `show stat`: CSV whose columns are found by their names, since each version adds some.

use std::net::{IpAddr, SocketAddr};

/// An answer that is no `show stat`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatError {
    /// The header has no such column.
    #[error("HAProxy's statistics have no column {0:?}; is the socket's level admin?")]
    Column(&'static str),
    /// There is no header.
    #[error("HAProxy's answer to show stat has no header line: {0:?}")]
    Header(String),
    /// A line has fewer fields than the header.
    #[error("HAProxy's answer to show stat ends early: {0:?}")]
    Short(String),
}

/// A server as it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveServer {
    /// Its backend.
    pub backend: String,
    /// Its name.
    pub name: String,
    /// `UP`, `DOWN`, `MAINT`, `UP 1/3`, `no check`, ...
    pub status: String,
    /// As it was set, 0 to 256.
    pub weight: u32,
    /// Takes traffic only when no other can.
    pub backup: bool,
    /// Where it is; none while a name is not resolved.
    pub address: Option<(IpAddr, u16)>,
    /// Value of its cookie; empty for none.
    pub cookie: String,
}

impl LiveServer {
    /// It was put out of use by its state, not by a check or a name that does not resolve.
    pub fn is_in_maintenance(&self) -> bool {
        self.status.starts_with("MAINT") && !self.status.contains("resolution")
    }
}

/// Traffic of a backend since its process began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Bytes received from clients.
    pub bytes_in: i64,
    /// Bytes sent to clients.
    pub bytes_out: i64,
}

/// The servers in an answer to `show stat`, whatever stands around it.
pub fn servers(answer: &str) -> Result<Vec<LiveServer>, StatError> {
    let table = Table::read(answer)?;
    let [proxy, name, status] = ["pxname", "svname", "status"].map(|column| table.column(column));
    let (proxy, name, status) = (proxy?, name?, status?);
    let (kind, backup, weight) = (table.column("type")?, table.column("bck")?, table.column("weight")?);
    let (address, cookie) = (table.column("addr")?, table.column("cookie")?);
    // `weight` is what is in force while a server warms up; versions from 2.4 on print what was set besides.
    let weight = table.column("uweight").unwrap_or(weight);
    table
        .rows(&[proxy, name, status, kind, backup, weight, address, cookie])
        .filter(|row| row.as_ref().map_or(true, |row| row[kind] == "2"))
        .map(|row| {
            let row = row?;
            Ok(LiveServer {
                backend: row[proxy].to_owned(),
                name: row[name].to_owned(),
                status: row[status].to_owned(),
                weight: row[weight].parse().unwrap_or_default(),
                backup: row[backup] == "1",
                address: socket_address(row[address]),
                cookie: row[cookie].to_owned(),
            })
        })
        .collect()
}

/// The backends in an answer to `show stat`.
pub fn backends(answer: &str) -> Result<Vec<Backend>, StatError> {
    let table = Table::read(answer)?;
    let (proxy, kind) = (table.column("pxname")?, table.column("type")?);
    let (bytes_in, bytes_out) = (table.column("bin")?, table.column("bout")?);
    table
        .rows(&[proxy, kind, bytes_in, bytes_out])
        .filter(|row| row.as_ref().map_or(true, |row| row[kind] == "1"))
        .map(|row| {
            let row = row?;
            Ok(Backend {
                name: row[proxy].to_owned(),
                bytes_in: row[bytes_in].parse().unwrap_or_default(),
                bytes_out: row[bytes_out].parse().unwrap_or_default(),
            })
        })
        .collect()
}

fn socket_address(text: &str) -> Option<(IpAddr, u16)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), address.port()));
    }
    // Some versions print an IPv6 address without brackets.
    let (ip, port) = text.rsplit_once(':')?;
    Some((ip.parse().ok()?, port.parse().ok()?))
}

struct Table<'a> {
    header: Vec<&'a str>,
    body: &'a str,
}

impl<'a> Table<'a> {
    fn read(answer: &'a str) -> Result<Self, StatError> {
        let begin = if answer.starts_with("# ") { Some(0) } else { answer.find("\n# ").map(|at| at + 1) };
        let Some(begin) = begin else {
            return Err(StatError::Header(answer.chars().take(120).collect()));
        };
        let (header, body) = answer[begin + 2..].split_once('\n').unwrap_or((&answer[begin + 2..], ""));
        Ok(Self { header: header.split(',').collect(), body })
    }

    fn column(&self, name: &'static str) -> Result<usize, StatError> {
        self.header.iter().position(|column| *column == name).ok_or(StatError::Column(name))
    }

    fn rows(&self, needed: &[usize]) -> impl Iterator<Item = Result<Vec<&'a str>, StatError>> {
        let least = needed.iter().max().map_or(0, |last| last + 1);
        self.body.lines().take_while(|line| !line.is_empty()).map(move |line| {
            let row = split(line);
            if row.len() < least { Err(StatError::Short(line.chars().take(120).collect())) } else { Ok(row) }
        })
    }
}

/// Fields of a line. What a health check said stands in quotes and may hold commas.
fn split(line: &str) -> Vec<&str> {
    let mut fields = Vec::with_capacity(128);
    let (mut begin, mut quoted) = (0, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                fields.push(&line[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&line[begin..]);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_haproxy_2_6_prints() {
        let servers = servers(include_str!("../../tests/recorded/servers-2.6.csv")).unwrap();
        let names: Vec<_> = servers.iter().map(|server| (server.backend.as_str(), server.name.as_str())).collect();
        let (http, tcp) = ("http-servers", "tcp-servers");
        assert_eq!(names, [(http, "id-1"), (http, "slot-1"), (tcp, "id-1"), (tcp, "id-2")]);
        assert_eq!(servers[0].address, Some(("127.0.0.1".parse().unwrap(), 19001)));
        assert_eq!((servers[0].cookie.as_str(), servers[0].weight), ("id-1", 1));
        assert!(servers[1].is_in_maintenance() && !servers[0].is_in_maintenance());
        assert_eq!((servers[3].backup, servers[3].weight), (true, 0));
        let backends = backends(include_str!("../../tests/recorded/backends-2.6.csv")).unwrap();
        assert_eq!(backends.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [http, tcp]);
    }

    /// The columns of each branch as its source lists them, and a row made to fit.
    #[test]
    fn other_versions_columns_are_found_by_their_names() {
        for header in [
            include_str!("../../tests/recorded/columns-2.4.csv"),
            include_str!("../../tests/recorded/columns-2.8.csv"),
            include_str!("../../tests/recorded/columns-3.0.csv"),
            include_str!("../../tests/recorded/columns-3.2.csv"),
        ] {
            let value = |column: &str| match column {
                "# pxname" => "http-servers",
                "svname" => "id-1",
                "status" => "MAINT",
                "type" => "2",
                "bck" => "1",
                "weight" => "0",
                "uweight" => "256",
                "addr" => "[2001:db8::1]:80",
                "cookie" => "slot-3",
                _ => "",
            };
            let row: Vec<&str> = header.trim_end().split(',').map(value).collect();
            let servers = servers(&format!("{header}{}\n\n", row.join(","))).unwrap();
            assert_eq!(
                servers,
                [LiveServer {
                    backend: "http-servers".into(),
                    name: "id-1".into(),
                    status: "MAINT".into(),
                    weight: 256,
                    backup: true,
                    address: Some(("2001:db8::1".parse().unwrap(), 80)),
                    cookie: "slot-3".into(),
                }]
            );
        }
    }

    #[test]
    fn columns_are_found_by_name_and_quoted_commas_do_not_part_fields() {
        let answer = "Key: 1\n\n# svname,pxname,last_chk,type,status,bck,weight,cookie,addr,new\n\
                      id-a-b,p,\"no, \"\"really\"\"\",2,UP 1/2,0,7,c,::1:80,x\nBACKEND,p,,1,UP,0,7,,,x\n\n";
        let servers = servers(answer).unwrap();
        assert_eq!(servers.len(), 1);
        let server = &servers[0];
        assert_eq!((server.backend.as_str(), server.name.as_str(), server.status.as_str()), ("p", "id-a-b", "UP 1/2"));
        assert_eq!((server.weight, server.address), (7, Some(("::1".parse().unwrap(), 80))));
    }

    #[test]
    fn answers_that_are_no_table_are_told_apart() {
        assert!(matches!(servers("Permission denied\n"), Err(StatError::Header(_))));
        assert_eq!(servers("# pxname,svname\n"), Err(StatError::Column("status")));
        assert!(matches!(
            servers("# pxname,svname,status,type,bck,weight,addr,cookie\na,b\n"),
            Err(StatError::Short(_))
        ));
    }
}
