from core.database import *
