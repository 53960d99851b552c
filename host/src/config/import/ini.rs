//! The dialect of INI that libra's programs read.

/// One option as it stands in the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) section: String,
    /// In lower case, with `_` for `-`.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// Splits a file into its options. What is no option comes back as (line, text).
///
/// `[section]`, `key = value` or `key: value`, comments from `#` or `;` at the start of a line, and lines that continue the
/// value above because they begin with space.
pub(super) fn parse(text: &str) -> (Vec<Entry>, Vec<(usize, String)>) {
    let (mut entries, mut strays): (Vec<Entry>, Vec<(usize, String)>) = (Vec::new(), Vec::new());
    let mut section = "DEFAULT".to_owned();
    // Whether a line that begins with space continues the value above it.
    let mut is_open = false;
    for (index, line) in text.lines().enumerate() {
        let (line_number, trimmed) = (index + 1, line.trim());
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            is_open = is_open && !trimmed.is_empty();
        } else if is_open && line.starts_with([' ', '\t']) {
            if let Some(entry) = entries.last_mut() {
                entry.value = format!("{} {trimmed}", entry.value).trim().to_owned();
            }
        } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_owned();
            is_open = false;
        } else if let Some((key, value)) = trimmed.split_once(['=', ':']) {
            let key = key.trim().to_ascii_lowercase().replace('-', "_");
            entries.push(Entry { section: section.clone(), key, value: value.trim().to_owned(), line: line_number });
            is_open = true;
        } else {
            strays.push((line_number, trimmed.to_owned()));
            is_open = false;
        }
    }
    (entries, strays)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn options_comments_and_continued_values_are_read() {
        let text = "# head\nfirst: 1\n[worker:haproxy]\nlog-file = a=b\n; note\n[mgm]\napi_server = one:1\n   two:2\n\nstray\n";
        let (entries, strays) = parse(text);
        let found: Vec<_> =
            entries.iter().map(|e| (e.section.as_str(), e.key.as_str(), e.value.as_str(), e.line)).collect();
        let expected = [
            ("DEFAULT", "first", "1", 2),
            ("worker:haproxy", "log_file", "a=b", 4),
            ("mgm", "api_server", "one:1 two:2", 7),
        ];
        assert_eq!(found, expected);
        assert_eq!(strays, [(10, "stray".to_owned())]);
    }
}
