//! Both real processes on loopback, as a user starts them. Modules are named by behaviour.

mod admission;
mod authorization;
mod backpressure;
mod drops;
mod frames;
mod loss;
mod memory;
mod openapi;
mod operation;
mod options;
mod placement;
mod rtp;
mod rtp_av1;
mod rtp_feedback;
mod rtp_frames;
mod rtp_jpegxs;
mod rtp_options;
mod rtp_reports;
mod rtp_rules;
mod rtp_sessions;
mod rtp_units;
mod rules;
mod sources;
