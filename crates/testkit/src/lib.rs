//! Starts guards, tool servers and scripted backends for the Rust tests of the workspace.
