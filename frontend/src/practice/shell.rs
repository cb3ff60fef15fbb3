//! Scripts of RUN as commands. Not a shell: enough of one to see what is called with which words.

/// One command of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Its words with quotes removed, without variables before it, `sudo` and `exec`.
    pub(super) words: Vec<String>,
}

impl Command {
    /// The program without its folder.
    pub(super) fn program(&self) -> &str {
        let first = self.words.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// Whether a word stands among the arguments.
    pub(super) fn has(&self, word: &str) -> bool {
        self.words.iter().skip(1).any(|known| known == word)
    }

    /// The first argument that is no flag.
    pub(super) fn verb(&self) -> &str {
        self.operands().next().unwrap_or_default()
    }

    /// Arguments that are no flags.
    pub(super) fn operands(&self) -> impl Iterator<Item = &str> {
        self.words
            .iter()
            .skip(1)
            .map(String::as_str)
            .filter(|word| !word.starts_with('-'))
    }

    /// The value of a flag: the word after `-o`, or what follows `--output=`.
    pub(super) fn value(&self, short: &str, long: &str) -> Option<&str> {
        let mut words = self.words.iter().skip(1);
        while let Some(word) = words.next() {
            if word == short || word == long {
                return words.next().map(String::as_str);
            }
            if let Some(value) = word
                .strip_prefix(long)
                .and_then(|rest| rest.strip_prefix('='))
            {
                return Some(value);
            }
        }
        None
    }
}

/// The commands of a script, in order.
pub(super) fn commands(script: &str) -> Vec<Command> {
    let mut all = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = script.chars().peekable();
    while let Some(c) = characters.next() {
        if let Some(open) = quote {
            match c {
                _ if c == open => quote = None,
                '\\' if open == '"' => word.get_or_insert_default().extend(characters.next()),
                _ => word.get_or_insert_default().push(c),
            }
            continue;
        }
        match c {
            '\'' | '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            '\\' if characters.peek() == Some(&'\n') => {
                characters.next();
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            '#' if word.is_none() => {
                while characters.peek().is_some_and(|c| *c != '\n') {
                    characters.next();
                }
            }
            ' ' | '\t' | '\r' => words.extend(word.take()),
            '\n' | ';' | '&' | '|' | '(' | ')' | '{' | '}' if !is_brace_of_word(c, &word) => {
                words.extend(word.take());
                finish(&mut words, &mut all);
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    finish(&mut words, &mut all);
    all
}

/// `{` and `}` group commands only where they are words.
fn is_brace_of_word(c: char, word: &Option<String>) -> bool {
    matches!(c, '{' | '}') && word.is_some()
}

fn finish(words: &mut Vec<String>, all: &mut Vec<Command>) {
    let before = |word: &String| {
        matches!(
            word.as_str(),
            "sudo" | "exec" | "time" | "then" | "do" | "else" | "if" | "while" | "!" | "command"
        ) || is_assignment(word)
    };
    let start = words.iter().take_while(|word| before(word)).count();
    let words: Vec<String> = words.drain(..).skip(start).collect();
    if !words.is_empty() {
        all.push(Command { words });
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn scripts_are_taken_apart() {
        let all = commands(
            "set -e; DEBIAN_FRONTEND=noninteractive apt-get update && \\\n sudo /usr/bin/apt-get install -y 'a b' c || { echo \"x;y\"; }",
        );
        let words: Vec<String> = all.iter().map(|command| command.words.join(",")).collect();
        assert_eq!(
            words,
            [
                "set,-e",
                "apt-get,update",
                "/usr/bin/apt-get,install,-y,a b,c",
                "echo,x;y"
            ]
        );
        assert_eq!(all[2].program(), "apt-get");
        assert_eq!(all[2].verb(), "install");
    }

    #[test]
    fn values_of_flags_are_found() {
        let all = commands("curl -fsSL -o /tmp/a.tgz https://x; wget --output-document=/b y");
        assert_eq!(all[0].value("-o", "--output"), Some("/tmp/a.tgz"));
        assert_eq!(all[1].value("-O", "--output-document"), Some("/b"));
        assert_eq!(all[1].value("-o", "--nothing"), None);
    }
}
