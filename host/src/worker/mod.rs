//! The worker service: takes Gearman messages and drives the appliance on this node.
