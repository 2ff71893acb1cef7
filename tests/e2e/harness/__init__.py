"""The programs of the end-to-end tests beyond guard and tool server. Must not know what a test asserts."""
