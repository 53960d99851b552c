//! Which server is in use. A run begins with a probe and goes on with its server until that one fails.

use std::sync::{Arc, Mutex, PoisonError};

/// The order in which servers are tried, and the one in use.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    servers: Arc<[usize]>,
    current: usize,
}

impl Order {
    /// All of them, shuffled, so that many pool managers spread over them.
    fn shuffled(count: usize) -> Self {
        let mut servers: Vec<usize> = (0..count).collect();
        fastrand::shuffle(&mut servers);
        Self { servers: servers.into(), current: 0 }
    }

    /// Each server once, the one in use first: its place in the order, and its number.
    pub fn starting_with_current(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let places = (self.current..self.servers.len()).chain(0..self.current);
        places.filter_map(|place| Some((place, *self.servers.get(place)?)))
    }

    pub fn current(&self) -> usize {
        self.servers.get(self.current).copied().unwrap_or_default()
    }
}

/// The run of an instance, as all its calls see it.
#[derive(Debug)]
pub(crate) struct Run(Mutex<Order>);

impl Run {
    pub fn new(servers: usize) -> Self {
        Self(Mutex::new(Order::shuffled(servers)))
    }

    pub fn order(&self) -> Order {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An order for a probe; the run goes on as it is until [`Run::settle`].
    pub fn fresh(&self) -> Order {
        Order::shuffled(self.order().servers.len())
    }

    /// Begins a run with what a probe found.
    pub fn begin(&self, order: &Order, place: usize) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Order { current: place, servers: Arc::clone(&order.servers) };
    }

    /// Goes on with another server, unless a new run has begun meanwhile.
    pub fn settle(&self, order: &Order, place: usize) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&now.servers, &order.servers) {
            now.current = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_tried_once_from_the_one_in_use() {
        let run = Run::new(4);
        let order = run.order();
        run.settle(&order, 2);
        let moved = run.order();
        let places: Vec<usize> = moved.starting_with_current().map(|(place, _)| place).collect();
        assert_eq!(places, [2, 3, 0, 1]);
        let mut servers: Vec<usize> = moved.starting_with_current().map(|(_, server)| server).collect();
        servers.sort_unstable();
        assert_eq!(servers, [0, 1, 2, 3]);
        let later = run.fresh();
        run.begin(&later, 1);
        run.settle(&moved, 3);
        assert_eq!(run.order().current, 1, "a call of the run before changes nothing");
    }

    #[test]
    fn orders_are_shuffled() {
        let orders: std::collections::HashSet<Vec<usize>> =
            (0..200).map(|_| Order::shuffled(5).servers.to_vec()).collect();
        assert!(orders.len() > 50, "{}", orders.len());
    }
}
