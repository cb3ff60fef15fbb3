use cooper_core::model::{Failure, FailureKind};
use cooper_proto::oci::ContainerConfig;

/// Applies one Dockerfile instruction to a configuration, as `docker import --change` does.
///
/// # Errors
/// `InvalidInput` for an instruction that changes no configuration or cannot be read.
pub(super) fn apply(config: &mut ContainerConfig, line: &str) -> Result<(), Failure> {
    let line = line.trim();
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim();
    let refuse = |what: &str| {
        Failure::new(
            FailureKind::InvalidInput,
            format!("change {line:?}: {what}"),
        )
    };
    if rest.is_empty() {
        return Err(refuse("the instruction says nothing"));
    }
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = command(rest),
        "ENTRYPOINT" => config.entrypoint = command(rest),
        "ENV" => {
            for (key, value) in pairs(rest).ok_or_else(|| refuse("it is not KEY=VALUE"))? {
                let prefix = format!("{key}=");
                let whole = format!("{prefix}{value}");
                match config.env.iter_mut().find(|it| it.starts_with(&prefix)) {
                    Some(known) => *known = whole,
                    None => config.env.push(whole),
                }
            }
        }
        "LABEL" => {
            let labels = pairs(rest).ok_or_else(|| refuse("it is not KEY=VALUE"))?;
            config.labels.extend(labels);
        }
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" if rest.starts_with('/') => config.working_dir = rest.to_owned(),
        "WORKDIR" => return Err(refuse("the path must be absolute")),
        "STOPSIGNAL" => config.stop_signal = rest.to_owned(),
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let port = expose(port).ok_or_else(|| refuse("a port is PORT[/tcp|udp|sctp]"))?;
                config.exposed_ports.insert(port, empty());
            }
        }
        "VOLUME" => {
            let paths = json_list(rest)
                .unwrap_or_else(|| rest.split_whitespace().map(ToOwned::to_owned).collect());
            config
                .volumes
                .extend(paths.into_iter().map(|path| (path, empty())));
        }
        other => {
            let known = "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME \
                         and WORKDIR";
            return Err(refuse(&format!("{other} cannot be used here; {known} can")));
        }
    }
    Ok(())
}

fn empty() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[')
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

fn command(text: &str) -> Vec<String> {
    json_list(text).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), text.into()])
}

fn expose(text: &str) -> Option<String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port: u16 = port.parse().ok()?;
    let protocol = protocol.to_ascii_lowercase();
    matches!(protocol.as_str(), "tcp" | "udp" | "sctp").then(|| format!("{port}/{protocol}"))
}

/// `K=V K2="V 2"`, or the old form `K the rest`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let words = words(text)?;
    if !words.first()?.contains('=') {
        let (key, value) = text.split_once([' ', '\t'])?;
        return Some(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    words
        .into_iter()
        .map(|word| {
            let (key, value) = word.split_once('=')?;
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Words between blanks, their quotes and escapes taken away.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().push(characters.next()?),
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_end_in_the_configuration() {
        let mut config = ContainerConfig::default();
        for line in [
            "CMD [\"sh\", \"-l\"]",
            "entrypoint run it",
            "ENV A=1 B=\"two words\" C='x \\'",
            "ENV A=2",
            "ENV OLD form of it",
            "LABEL maker=me note=a\\ b",
            "USER nobody",
            "WORKDIR /srv",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/data\"]",
            "VOLUME /a /b",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN x",
        ] {
            apply(&mut config, line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        assert_eq!(config.cmd, ["sh", "-l"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run it"]);
        assert_eq!(
            config.env,
            ["A=2", "B=two words", "C=x \\", "OLD=form of it"]
        );
        assert_eq!(config.labels["note"], "a b");
        assert_eq!(
            config.exposed_ports.keys().collect::<Vec<_>>(),
            ["53/udp", "80/tcp"]
        );
        assert_eq!(config.volumes.len(), 3);
        assert_eq!(config.on_build, ["RUN x"]);
    }

    #[test]
    fn changes_that_cannot_be_made_are_named() {
        let mut config = ContainerConfig::default();
        for line in [
            "RUN x",
            "CMD",
            "ENV A",
            "ENV \"A=1",
            "EXPOSE x",
            "WORKDIR a",
        ] {
            let error = apply(&mut config, line).unwrap_err();
            let word = line.split(' ').next().unwrap();
            assert!(error.message.contains(word), "{error}");
        }
    }
}
