from core.rows import *
