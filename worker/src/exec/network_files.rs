/// A line of `/etc/hosts` that an op asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraHost {
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
}

/// The content of a container's `/etc/hosts`.
#[must_use]
pub fn hosts_file(hostname: &str, extra: &[ExtraHost]) -> String {
    let mut content =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for ExtraHost { name, address } in extra {
        content.push_str(&format!("{address}\t{name}\n"));
    }
    content
}

/// The content of a container's `/etc/resolv.conf`, from the machine's and what stands behind systemd-resolved's.
///
/// A container that shares the machine's network reaches resolvers at loopback addresses; `systemd` (the file behind a
/// local stub) is only preferred where the stub is all there is and the network is another one.
#[must_use]
pub fn resolver_file(machine: &str, systemd: Option<&str>, shares_network: bool) -> String {
    if shares_network {
        return machine.to_owned();
    }
    let is_stub = |content: &str| {
        let servers: Vec<_> = name_servers(content).collect();
        servers == ["127.0.0.53"]
    };
    let content = if is_stub(machine) {
        systemd.unwrap_or(machine)
    } else {
        machine
    };
    content
        .lines()
        .filter(|line| {
            !server_of(line).is_some_and(|server| server.starts_with("127.") || server == "::1")
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

fn name_servers(content: &str) -> impl Iterator<Item = &str> {
    content.lines().filter_map(server_of)
}

fn server_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver"))
        .then(|| words.next())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_container_and_what_was_asked_for() {
        let extra = [ExtraHost {
            name: "db".into(),
            address: "10.0.0.5".into(),
        }];
        assert_eq!(
            hosts_file("buildkitsandbox", &extra),
            "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.5\tdb\n"
        );
    }

    #[test]
    fn shared_network_keeps_the_machines_resolver() {
        let machine = "nameserver 127.0.0.53\nsearch lan\n";
        assert_eq!(
            resolver_file(machine, Some("nameserver 10.0.0.1\n"), true),
            machine
        );
    }

    #[test]
    fn own_network_looks_behind_the_local_stub() {
        let machine = "nameserver 127.0.0.53\n";
        assert_eq!(
            resolver_file(machine, Some("nameserver 10.0.0.1\n"), false),
            "nameserver 10.0.0.1\n"
        );
        assert_eq!(
            resolver_file("nameserver 127.0.0.1\nsearch lan\n", None, false),
            "search lan\n"
        );
    }
}
