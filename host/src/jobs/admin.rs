//! The text commands of a job server, from the side that asks.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::client::ClientError;
use super::transport::{ReadEnd, Transport, WriteEnd};
use crate::config::Endpoint;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// The longest answer that is read: 16 MiB.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// A session with one job server.
pub struct Admin {
    endpoint: Endpoint,
    read: BufReader<ReadEnd>,
    write: WriteEnd,
}

/// One line of `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionStatus {
    /// The function.
    pub function: String,
    /// Jobs that wait or run.
    pub total: u64,
    /// Jobs that run.
    pub running: u64,
    /// Workers connected for it.
    pub workers: u64,
}

/// One line of `workers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerEntry {
    /// The server's number of the connection.
    pub connection: String,
    /// Where it comes from.
    pub address: String,
    /// What it calls itself; `-` when it did not say.
    pub client_id: String,
    /// What it can do; empty for clients.
    pub functions: Vec<String>,
}

impl Admin {
    /// Connects to one server.
    ///
    /// # Errors
    /// [`ClientError::NoServer`] with the reason.
    pub async fn connect(endpoint: &Endpoint, transport: &Transport) -> Result<Admin, ClientError> {
        let (read, write) = transport.connect(endpoint).await.map_err(|error| ClientError::NoServer(vec![error]))?;
        Ok(Admin { endpoint: endpoint.clone(), read: BufReader::new(read), write })
    }

    /// The server's version.
    ///
    /// # Errors
    /// [`ClientError`] when it does not say.
    pub async fn version(&mut self) -> Result<String, ClientError> {
        let line = self.command("version").await?;
        match line.strip_prefix("OK ") {
            Some(version) => Ok(version.to_owned()),
            None => Err(self.unexpected(&line)),
        }
    }

    /// All functions the server knows.
    ///
    /// # Errors
    /// [`ClientError`] when it does not say.
    pub async fn status(&mut self) -> Result<Vec<FunctionStatus>, ClientError> {
        let lines = self.list("status").await?;
        let parse = |line: &String| {
            let mut columns = line.rsplitn(4, '\t');
            let mut number = || columns.next().and_then(|text| text.parse().ok());
            let (workers, running, total) = (number()?, number()?, number()?);
            Some(FunctionStatus { function: columns.next()?.to_owned(), total, running, workers })
        };
        lines.iter().map(|line| parse(line).ok_or_else(|| self.unexpected(line))).collect()
    }

    /// All connections the server has, workers or not.
    ///
    /// # Errors
    /// [`ClientError`] when it does not say.
    pub async fn workers(&mut self) -> Result<Vec<WorkerEntry>, ClientError> {
        let lines = self.list("workers").await?;
        let parse = |line: &String| {
            let (head, functions) = line.split_once(" :")?;
            let mut words = head.split(' ').map(ToOwned::to_owned);
            Some(WorkerEntry {
                connection: words.next()?,
                address: words.next()?,
                client_id: words.next()?,
                functions: functions.split_whitespace().map(ToOwned::to_owned).collect(),
            })
        };
        lines.iter().map(|line| parse(line).ok_or_else(|| self.unexpected(line))).collect()
    }

    /// Sends a command that is answered by one line.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the answer begins with `ERR`.
    pub async fn command(&mut self, command: &str) -> Result<String, ClientError> {
        self.send(command).await?;
        let line = self.line().await?;
        self.accept(line)
    }

    /// Sends a command that is answered by lines and a line of a single dot.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the answer begins with `ERR`.
    pub async fn list(&mut self, command: &str) -> Result<Vec<String>, ClientError> {
        self.send(command).await?;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            if line == "." {
                return Ok(lines);
            }
            lines.push(self.accept(line)?);
        }
    }

    /// gearmand loses the last byte of some arguments unless a line ends in CR LF.
    async fn send(&mut self, command: &str) -> Result<(), ClientError> {
        let line = format!("{}\r\n", command.replace(['\r', '\n'], " "));
        let outcome = match &mut self.write {
            WriteEnd::Plain(half) => half.write_all(line.as_bytes()).await,
            WriteEnd::Tls(half) => match half.write_all(line.as_bytes()).await {
                Ok(()) => half.flush().await,
                Err(error) => Err(error),
            },
        };
        outcome.map_err(|error| self.lost(&error.to_string()))
    }

    async fn line(&mut self) -> Result<String, ClientError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.read).take(MAX_ANSWER);
        let outcome = tokio::time::timeout(ANSWER, bounded.read_until(b'\n', &mut line)).await;
        match outcome {
            Ok(Ok(_)) if line.ends_with(b"\n") => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            Ok(Ok(_)) => Err(self.lost("it ended within an answer")),
            Ok(Err(error)) => Err(self.lost(&error.to_string())),
            Err(_) => Err(self.lost("no answer within 10 s")),
        }
    }

    fn accept(&self, line: String) -> Result<String, ClientError> {
        let Some(refusal) = line.strip_prefix("ERR ") else {
            return Ok(line);
        };
        let (code, text) = refusal.split_once(' ').unwrap_or((refusal, refusal));
        let server = self.endpoint.to_string();
        Err(ClientError::Refused { server, code: code.to_owned(), text: text.replace('+', " ") })
    }

    fn lost(&self, reason: &str) -> ClientError {
        let (server, reason) = (self.endpoint.to_string(), reason.to_owned());
        ClientError::Protocol { server, reason: format!("the text session broke: {reason}") }
    }

    fn unexpected(&self, line: &str) -> ClientError {
        let server = self.endpoint.to_string();
        ClientError::Protocol { server, reason: format!("cannot read the line {line:?}") }
    }
}
