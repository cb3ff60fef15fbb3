use crate::network::DnsSettings;

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

/// Name servers for a container with a network of its own that is told of none that it could reach, as BuildKit's.
const PUBLIC_SERVERS: [&str; 4] = [
    "8.8.8.8",
    "8.8.4.4",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
];

/// The content of a container's `/etc/resolv.conf`, from the machine's and what stands behind systemd-resolved's.
///
/// A container that shares the machine's network reaches resolvers at loopback addresses; `systemd` (the file behind a
/// local stub) is only preferred where the stub is all there is and the network is another one. What is set takes the place
/// of what the machine has.
#[must_use]
pub fn resolver_file(
    machine: &str,
    systemd: Option<&str>,
    shares_network: bool,
    dns: &DnsSettings,
) -> String {
    let is_stub = |content: &str| {
        let servers: Vec<_> = name_servers(content).collect();
        servers == ["127.0.0.53"]
    };
    let content = if is_stub(machine) && !shares_network {
        systemd.unwrap_or(machine)
    } else {
        machine
    };
    let content = override_settings(content, dns);
    if shares_network {
        return content;
    }
    let mut reachable: String = content
        .lines()
        .filter(|line| {
            !server_of(line).is_some_and(|server| server.starts_with("127.") || server == "::1")
        })
        .map(|line| format!("{line}\n"))
        .collect();
    if name_servers(&reachable).next().is_none() {
        reachable.extend(PUBLIC_SERVERS.map(|server| format!("nameserver {server}\n")));
    }
    reachable
}

fn override_settings(content: &str, dns: &DnsSettings) -> String {
    let replaced = |line: &&str| match line.split_whitespace().next() {
        Some("nameserver") => !dns.nameservers.is_empty(),
        Some("search" | "domain") => !dns.search_domains.is_empty(),
        Some("options") => !dns.options.is_empty(),
        _ => false,
    };
    if *dns == DnsSettings::default() {
        return content.to_owned();
    }
    let mut lines: Vec<String> = dns
        .nameservers
        .iter()
        .map(|server| format!("nameserver {server}"))
        .collect();
    let one_line = [("search", &dns.search_domains), ("options", &dns.options)];
    for (key, words) in one_line.into_iter().filter(|(_, words)| !words.is_empty()) {
        lines.push(format!("{key} {}", words.join(" ")));
    }
    let kept = content.lines().filter(|line| !replaced(line));
    lines.extend(kept.map(String::from));
    lines.into_iter().map(|line| line + "\n").collect()
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

    fn resolver(machine: &str, systemd: Option<&str>, shares_network: bool) -> String {
        resolver_file(machine, systemd, shares_network, &DnsSettings::default())
    }

    #[test]
    fn shared_network_keeps_the_machines_resolver() {
        let machine = "nameserver 127.0.0.53\nsearch lan\n";
        assert_eq!(
            resolver(machine, Some("nameserver 10.0.0.1\n"), true),
            machine
        );
    }

    #[test]
    fn own_network_looks_behind_the_local_stub() {
        let machine = "nameserver 127.0.0.53\n";
        assert_eq!(
            resolver(machine, Some("nameserver 10.0.0.1\n"), false),
            "nameserver 10.0.0.1\n"
        );
        assert_eq!(
            resolver("nameserver 127.0.0.1\nsearch lan\n", None, false),
            "search lan\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n\
             nameserver 2001:4860:4860::8888\nnameserver 2001:4860:4860::8844\n"
        );
    }

    #[test]
    fn what_is_set_takes_the_place_of_the_machines() {
        let dns = DnsSettings {
            nameservers: vec!["10.1.0.1".into(), "10.1.0.2".into()],
            options: vec!["edns0".into()],
            search_domains: vec!["a.test".into(), "b.test".into()],
        };
        let machine = "# made by hand\nnameserver 10.0.0.1\ndomain lan\noptions rotate\n";
        assert_eq!(
            resolver_file(machine, None, false, &dns),
            "nameserver 10.1.0.1\nnameserver 10.1.0.2\nsearch a.test b.test\noptions edns0\n# made by hand\n"
        );
    }
}
