from core.store import *
