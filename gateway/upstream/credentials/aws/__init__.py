"""AWS without a key in the configuration: find a credential, and sign requests with it (SigV4).

The order of reading:

- `aws_request_signer`: the one entry, `make_aws_signer`
- `signature_v4`: the signature itself, pure functions
- `credential_chain`: where a credential comes from, in the order of AWS's SDKs
- `environment`, `web_identity`, `profile`, `container`, `instance_metadata`: the sources
- `shared_files`, `credential_process`, `read_file`: parts of a profile
- `token_service`: STS, which gives out the credential of a role
- `aws_credential`: the credential, and how documents spell it
- `ask_service`: requests to metadata and token services

botocore would do all this. It takes 30 MB on disk (its wheel has 17 MB) and reads files and asks
metadata in the calling thread. awscrt opens connections of its own, past the gateway's rules on
proxies, redirects and time limits. The tests compare this code with AWS's own test vectors.

AWS refuses signatures whose time differs by more than five minutes from its own. The gateway does
not correct for that: the machine needs NTP.
"""
