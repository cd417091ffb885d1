from core.licences import *
