from core.salvage import *
