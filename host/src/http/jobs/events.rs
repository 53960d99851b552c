//! `/jobs/v1/jobs/ID/events`: how a job goes, as server-sent events.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Extension, Path, State},
    response::{IntoResponse, Response},
};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use tokio::time::{Instant, sleep};

use super::{JobView, Operations};
use crate::http::{Problem, context::Context};

const LOOK: Duration = Duration::from_millis(200);
/// A comment after so much silence, so that no proxy takes the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    State(operations): State<Operations>,
    Extension(context): Extension<Arc<Context>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let first = operations.show(&id).await?;
    let (sender, body) = Channel::<Bytes>::new(4);
    tokio::spawn(async move {
        // Whoever reads has gone, or the daemon ends.
        let _gone = tell(operations, first, sender, context).await;
    });
    let headers = [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")];
    Ok((headers, Body::new(body)).into_response())
}

/// A `job` event for each change, the last of them with a job that has ended.
async fn tell(
    operations: Operations,
    first: JobView,
    mut sender: Sender<Bytes>,
    context: Arc<Context>,
) -> Result<(), http_body_util::channel::SendError> {
    let mut ending = context.ending.clone();
    let (mut shown, mut number, mut spoke) = (first, 1_u64, Instant::now());
    sender.send_data(event(number, &shown)).await?;
    while !shown.is_final() {
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = ending.wait_for(|ends| *ends) => return Ok(()),
        }
        match operations.show(&shown.id).await {
            Ok(job) if job != shown => {
                (shown, number, spoke) = (job, number + 1, Instant::now());
                sender.send_data(event(number, &shown)).await?;
            }
            // The store may come back while the reader waits; a job that is trimmed had ended.
            Err(problem) if problem.status() == 404 => return Ok(()),
            _ if spoke.elapsed() >= KEEP_ALIVE => {
                spoke = Instant::now();
                sender.send_data(Bytes::from_static(b": still here\n\n")).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn event(number: u64, job: &JobView) -> Bytes {
    // JSON has no line ends of its own, so it is one `data` line.
    let json = serde_json::to_string(job).unwrap_or_default();
    format!("id: {number}\nevent: job\ndata: {json}\n\n").into()
}
