"""The books of a pipeline: what went in, what came out, and whether the two agree.

Shares no code with probity: it knows the contracts of the topics and of the archive only. `model` is what
was read, `judge` compares it and knows neither Kafka nor files, `evidence` decodes one partition of
evidence, `read_kafka` and `read_archive` fetch.
"""
