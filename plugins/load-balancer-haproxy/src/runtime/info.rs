//! `show info`.

/// What of it the driver uses. A field that this HAProxy does not print is empty or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `Version`
    pub version: String,
    /// `Pid` of the worker.
    pub pid: u32,
    /// `Uptime_sec`
    pub uptime_s: u64,
    /// `description`: the marker.
    pub description: String,
}

impl Info {
    /// Reads `Key: value` lines up to the first empty one; keys are compared without regard to case, since `description`
    /// stands in both spellings in the documentation.
    pub fn parse(answer: &str) -> Self {
        let mut info = Self::default();
        for line in answer.trim_start_matches('\n').lines().take_while(|line| !line.is_empty()) {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match key.to_ascii_lowercase().as_str() {
                "version" => info.version = value.to_owned(),
                "pid" => info.pid = value.parse().unwrap_or_default(),
                "uptime_sec" => info.uptime_s = value.parse().unwrap_or_default(),
                "description" => info.description = value.to_owned(),
                _ => {}
            }
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_haproxy_2_6_prints() {
        let info = Info::parse(include_str!("../../tests/recorded/info-2.6.txt"));
        assert_eq!(info.version, "2.6.12-1+deb12u4");
        assert_eq!(info.pid, 16714);
        assert_eq!(info.description, "capstan device=lb-1 load=3 generation=7 shape=0123456789abcdef");
    }
}
