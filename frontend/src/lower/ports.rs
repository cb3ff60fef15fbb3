//! EXPOSE.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::diagnostic::{Fault, Lines};
use crate::golang::quote::quote;
use crate::lint::Rule;
use crate::stage::Conversion;

/// `[ip:][host:]port[-port][/protocol]`, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Exposed {
    ports: RangeInclusive<u16>,
    protocol: String,
    mapped: bool,
}

impl Conversion<'_> {
    pub(super) fn expose(
        &mut self,
        at: usize,
        lines: Lines,
        ports: &[String],
    ) -> Result<(), Fault> {
        let mut told: Vec<String> = Vec::new();
        for port in ports {
            let expanded = self
                .expander
                .expand(port, &*self.nodes[at].state.environment)
                .map_err(Fault::new)?;
            for word in expanded.words {
                let exposed = read(&word)?;
                self.lint_port(&word, &exposed, lines);
                let protocol = exposed.protocol.to_lowercase();
                told.extend(exposed.ports.map(|port| format!("{port}/{protocol}")));
            }
        }
        self.nodes[at]
            .image
            .config
            .exposed_ports
            .extend(told.iter().cloned());
        self.record(at, format!("EXPOSE [{}]", told.join(" ")), false)
    }

    fn lint_port(&mut self, word: &str, exposed: &Exposed, lines: Lines) {
        if exposed.protocol != exposed.protocol.to_lowercase() {
            let message =
                format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
            self.linter.warn(Rule::ExposeProtoCasing, lines, message);
        }
        if exposed.mapped {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
            );
            self.linter.warn(Rule::ExposeInvalidFormat, lines, message);
        }
    }
}

fn read(word: &str) -> Result<Exposed, Fault> {
    let mut parts = word.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    let ip = parts.next().unwrap_or_default();
    let invalid = |why: &str| Fault::new(format!("invalid port: {}: {why}", quote(word)));
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() {
        return Err(invalid("no port specified"));
    }
    let protocol = match protocol.to_lowercase().as_str() {
        "" => "tcp",
        "tcp" | "udp" | "sctp" => protocol,
        _ => return Err(invalid(&format!("invalid proto: {protocol}"))),
    };
    let bare = ip
        .strip_prefix('[')
        .and_then(|ip| ip.strip_suffix(']'))
        .unwrap_or(ip);
    if !ip.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(Fault::new(format!("invalid IP address: {ip}")));
    }
    let ports = range(port).ok_or_else(|| Fault::new(format!("invalid containerPort: {port}")))?;
    if !host.is_empty() {
        let hosts = range(host).ok_or_else(|| Fault::new(format!("invalid hostPort: {host}")))?;
        let length = |range: &RangeInclusive<u16>| range.end() - range.start();
        if length(&ports) != length(&hosts) && length(&ports) != 0 {
            return Err(Fault::new(format!(
                "invalid ranges specified for container and host Ports: {port} and {host}"
            )));
        }
    }
    Ok(Exposed {
        ports,
        protocol: protocol.to_owned(),
        mapped: !ip.is_empty() || !host.is_empty(),
    })
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start <= end).then_some(start..=end)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn ports_are_taken_apart() {
        for (word, want, protocol, mapped) in [
            ("80", 80..=80, "tcp", false),
            ("80/udp", 80..=80, "udp", false),
            ("80-82/SCTP", 80..=82, "SCTP", false),
            ("8080:80", 80..=80, "tcp", true),
            ("127.0.0.1:8080:80", 80..=80, "tcp", true),
            ("[::1]:8080:80", 80..=80, "tcp", true),
            ("127.0.0.1::80", 80..=80, "tcp", true),
        ] {
            let exposed = read(word).unwrap();
            assert_eq!(
                (exposed.ports, exposed.protocol.as_str(), exposed.mapped),
                (want, protocol, mapped),
                "{word}"
            );
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for word in [
            "",
            "x",
            "80/icmp",
            "/tcp",
            "82-80",
            "65536",
            "1-2:3-5",
            "1.2.3:1:80",
            "-1",
            "80-",
        ] {
            assert!(read(word).is_err(), "{word}");
        }
    }
}
