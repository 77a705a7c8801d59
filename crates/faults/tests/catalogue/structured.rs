//! A tiny reader of structured fields (RFC 8941): a list of items, each with its parameters, or `None` if it is not one.

pub(crate) type Member = (String, Vec<(String, String)>);

/// Reads a whole field value.
pub(crate) fn list(value: &str) -> Option<Vec<Member>> {
    let mut chars = Reader { text: value.chars().collect(), at: 0 };
    let mut members = Vec::new();
    loop {
        let item = chars.item()?;
        let mut parameters = Vec::new();
        while chars.take(';') {
            while chars.take(' ') {}
            let key = chars.run(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c))?;
            key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*').then_some(())?;
            let value = if chars.take('=') { chars.item()? } else { "?1".to_owned() };
            parameters.push((key, value));
        }
        members.push((item, parameters));
        while chars.take(' ') {}
        if chars.at == chars.text.len() {
            return Some(members);
        }
        chars.take(',').then_some(())?;
        while chars.take(' ') {}
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn take(&mut self, c: char) -> bool {
        let found = self.text.get(self.at) == Some(&c);
        self.at += usize::from(found);
        found
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> Option<String> {
        let run: String = self.text[self.at..].iter().copied().take_while(|c| belongs(*c)).collect();
        self.at += run.len();
        (!run.is_empty()).then_some(run)
    }

    fn item(&mut self) -> Option<String> {
        if self.take('"') {
            let mut text = String::new();
            loop {
                let c = *self.text.get(self.at)?;
                self.at += 1;
                match c {
                    '"' => return Some(text),
                    '\\' => {
                        let escaped = *self.text.get(self.at)?;
                        self.at += 1;
                        matches!(escaped, '"' | '\\').then_some(())?;
                        text.push(escaped);
                    }
                    ' '..='~' => text.push(c),
                    _ => return None,
                }
            }
        }
        let first = *self.text.get(self.at)?;
        if first.is_ascii_digit() {
            return self.run(|c| c.is_ascii_digit());
        }
        (first.is_ascii_alphabetic() || first == '*').then_some(())?;
        self.run(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c))
    }
}
