"""The gateway's own identity in clouds: where credentials come from, and how requests use them.

request_signer          the protocol: what a cloud's credential adds to a request
refreshing_credential   a credential that is refreshed before it ends
cloud_credentials       the signers of a process, one for each way to authenticate
"""
