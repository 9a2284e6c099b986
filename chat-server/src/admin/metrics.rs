pub(crate) fn render(_s: &crate::control::ServerStats) -> String { String::new() }
