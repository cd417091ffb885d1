from signatures.records.rejects import *
