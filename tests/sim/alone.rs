//! A dataplane of one worker without a world around it.

use std::path::Path;

use anyhow::Result;
use memory::Time;
use penstock_engine::config::Config;
use penstock_engine::simulation::Simulated;

/// For two publishers; its socket would lie in `directory`.
pub(crate) fn dataplane(directory: &Path, now: Time) -> Result<Simulated> {
    let text = format!(
        "dataplane: {{workers: [0], socket: {}}}\ningestion: {{max_connections: 2}}\n",
        directory.join("socket").display()
    );
    let config = Config::from_yaml_with(&text, |_| None)?;
    Ok(Simulated::start(&config, [7; 16], now, |cycle| cycle())?)
}
