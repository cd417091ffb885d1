from core.ledger import *
