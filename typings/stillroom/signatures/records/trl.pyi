from signatures.records.trl import *
