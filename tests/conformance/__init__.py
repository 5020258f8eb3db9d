"""OpenShift's own cases, run against this code: `python -m tests.conformance FILE [--area A]`."""
