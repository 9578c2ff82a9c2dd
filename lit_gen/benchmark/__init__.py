"""Methods x shots x seeds x minutes: what a benchmark file asks for, what came out, and the page."""
