//! Links written for other tools.
