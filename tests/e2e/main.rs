//! Both real processes on loopback, as a user starts them. Modules are named by behaviour.

mod frames;
mod loss;
mod memory;
mod operation;
mod placement;
mod sources;
