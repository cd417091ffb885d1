from core.writer import *
