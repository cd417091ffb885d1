from core.syncing import *
