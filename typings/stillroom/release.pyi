from core.release import *
