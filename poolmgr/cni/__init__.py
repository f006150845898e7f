"""
Speaks CNI, versions 0.1.0 to 1.1.0: bytes in, a CNI result or error out.

Law of this layer: it decides no allocation. What may be given to whom is the planner's; here a
network configuration is understood or refused, before anything that talks to etcd is imported.
"""
