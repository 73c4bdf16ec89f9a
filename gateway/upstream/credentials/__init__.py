"""The gateway's own identity in clouds: where credentials come from, and how requests use them.

- request_signer: the protocol, what a cloud's credential adds to a request
- refreshing_credential: a credential that is refreshed before it ends
- cloud_credentials: the signers of a process, one for each way to authenticate
- make_signer: the signer of a way to authenticate
- bearer_signer: the signer of clouds whose credential is an access token
- identity_request: requests to token services and metadata addresses, within limits
- google_credentials, google_files: access tokens of Google Cloud
- azure_credentials: access tokens of Entra ID
- aws: signatures with a credential of AWS
"""
