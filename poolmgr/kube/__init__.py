"""
Speaks Kubernetes: what a pod's and a namespace's annotations ask for, and the API's client.

Law of this layer: it assigns nothing. annotations.py is pure; only client.py talks to an API,
and only it knows lightkube.
"""
