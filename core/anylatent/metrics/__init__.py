"""Numbers about samples, each with its sample count, interval and floor. Networks of metrics live in the plugins.

Written once, on feature vectors (`base.Features`) and identities (`Modality.identity`), for every modality.
"""
