"""Which class of each published set is which of the classes that sets are scored in together.

Data: a YAML file a set, and `spaces.yaml`; read by `label_space`.
"""
