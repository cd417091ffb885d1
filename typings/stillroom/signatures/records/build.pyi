from signatures.records.build import *
